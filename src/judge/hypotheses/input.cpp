// Right computations of the wrong rows.

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "judge/hypotheses/hypothesis.h"

namespace greta {
namespace {

using Rows = std::optional<std::vector<float>>;

bool is_cache(Stage stage) { return stage == Stage::kv_write; }

bool is_residual(Stage stage) { return stage == Stage::x_attn || stage == Stage::x_out; }

/// The candidate puts other rows in the place of operand `at`.
Candidate other_operand(size_t at, std::function<Rows(const Observation&, const StageProblem&)> rows,
                        std::string en, std::string es) {
  return {[=](const Observation& seen, StageProblem& problem) {
            Rows other = rows(seen, problem);
            if (!other || at >= problem.operands.size()) return false;
            problem.operands[at] = {std::move(*other), nullptr};
            return true;
          },
          std::move(en), std::move(es)};
}

std::vector<Candidate> wrong_input(const Suspect& s) {
  std::vector<Candidate> candidates;
  if (s.stage == Stage::x_in || s.stage == Stage::softmax) return {};
  const std::vector<Stage> operands = operands_of(s.config(), s.stage, s.layer);
  for (size_t at = 0; at < operands.size(); ++at) {
    const Stage own = operands[at];
    if (is_cache(own) || (is_residual(s.stage) && at == 0)) continue;
    for (int i = 0; i < kStageCount; ++i) {
      const Stage other = static_cast<Stage>(i);
      const bool scores = other == Stage::qk || other == Stage::softmax || is_cache(other);
      if (scores || other == own || other == s.stage) continue;
      if (row_width(other, s.config(), 0) != row_width(own, s.config(), 0)) continue;
      // What is named by a hypothesis of its own.
      if (s.stage == Stage::act || (s.stage == Stage::kv_write && other != Stage::q)) continue;
      const int layer = is_outside_layers(s.stage) && !is_outside_layers(other)
                            ? static_cast<int>(s.config().n_layer) - 1
                            : s.layer;
      candidates.push_back(other_operand(
          at,
          [=](const Observation& seen, const StageProblem& problem) {
            return recorded_rows(*seen.phase, other, layer, problem.positions);
          },
          fmt::format("{} is computed from {}, not from {}", name(s.stage), name(other), name(own)),
          fmt::format("{} se calcula a partir de {}, no de {}", name(s.stage), name(other), name(own))));
    }
  }
  return candidates;
}

/// Where the problem's operand comes from.
int layer_of(const StageProblem& problem, Stage operand) {
  if (problem.stage == Stage::x_in) return problem.layer - 1;
  const bool last = is_outside_layers(problem.stage) && !is_outside_layers(operand);
  return last ? static_cast<int>(problem.model->config.n_layer) - 1 : problem.layer;
}

/// The first and the last position of the block, as far as the stage's input shows: of the stage itself fewer
/// rows may be recorded.
std::pair<int64_t, int64_t> limits(const Observation& seen, const StageProblem& problem) {
  const Stage input = operands_of(problem.model->config, problem.stage, problem.layer).front();
  std::vector<int64_t> all = problem.positions;
  for (const int64_t position : recorded_positions(*seen.phase, input, layer_of(problem, input)))
    all.push_back(position);
  const auto [lowest, highest] = std::minmax_element(all.begin(), all.end());
  return {*lowest, *highest};
}

/// Row r from the rows of another position.
std::vector<Candidate> wrong_row(const Suspect& s) {
  if ((s.stage == Stage::x_in && s.layer == 0) || s.stage == Stage::kv_write)
    return {};  // token_shift, kv_slot
  struct Which {
    int64_t shift;
    bool first;
    const char *en, *es;
  };
  static constexpr std::array<Which, 3> kinds{{{-1, false, "the row before's", "de la fila anterior"},
                                               {1, false, "the next row's", "de la fila siguiente"},
                                               {0, true, "the first row's", "de la primera fila"}}};
  std::vector<Candidate> candidates;
  for (const Which& kind : kinds) {
    const Stage stage = s.stage;
    const auto change = [stage, kind](const Observation& seen, StageProblem& problem) {
      std::vector<int64_t> from;
      const auto [lowest, highest] = limits(seen, problem);
      for (const int64_t position : problem.positions)
        from.push_back(kind.first ? lowest : std::clamp(position + kind.shift, lowest, highest));
      const std::vector<Stage> operands = operands_of(problem.model->config, stage, problem.layer);
      for (size_t at = 0; at < operands.size(); ++at) {
        if (is_cache(operands[at])) continue;
        const int layer = layer_of(problem, operands[at]);
        auto rows = recorded_rows(*seen.phase, operands[at], layer, from);
        if (!rows) return false;
        problem.operands[at] = {std::move(*rows), nullptr};
      }
      return from != problem.positions;
    };
    candidates.push_back(
        {change, fmt::format("a row of {} is computed from {} input", name(s.stage), kind.en),
         fmt::format("una fila de {} se calcula con la entrada {}", name(s.stage), kind.es)});
  }
  return candidates;
}

std::vector<Candidate> token_shift(const Suspect& s) {
  if (s.stage != Stage::x_in || s.layer != 0) return {};
  std::vector<Candidate> candidates;
  for (const int shift : {1, -1}) {
    candidates.push_back({[shift](const Observation&, StageProblem& problem) {
                            const int64_t n = problem.model->config.n_vocab;
                            for (TokenId& id : problem.tokens)
                              id = static_cast<TokenId>(std::clamp<int64_t>(id + shift, 0, n - 1));
                            return true;
                          },
                          fmt::format("the embedding of token id {:+d} is used", shift),
                          fmt::format("se usa el embedding del id de token {:+d}", shift)});
  }
  candidates.push_back({[](const Observation& seen, StageProblem& problem) {
                          for (size_t i = 0; i < problem.positions.size(); ++i) {
                            const int64_t at = problem.positions[i] - 1;
                            if (at < 0) return false;
                            problem.tokens[i] = seen.phase->tokens[static_cast<size_t>(at)];
                          }
                          return true;
                        },
                        "the embedding of the token before is used",
                        "se usa el embedding del token anterior"});
  return candidates;
}

const std::array<Hypothesis, 3> kTable{{
    {"wrong_input", "the stage is computed from another stage's output",
     "la etapa se calcula a partir de la salida de otra", "B3.42 of the founding engine (RMSNorm's input)",
     wrong_input},
    {"wrong_row", "a row is computed from another row's input", "una fila se calcula con la entrada de otra",
     "https://github.com/tenstorrent/tt-xla/issues/5940", wrong_row},
    {"token_shift", "the embedding of another token is used", "se usa el embedding de otro token",
     "https://github.com/paiml/realizar/issues/101", token_shift},
}};

}  // namespace

std::span<const Hypothesis> input_hypotheses() { return kTable; }

}  // namespace greta
