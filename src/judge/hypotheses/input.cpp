// Right computations of the wrong rows.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "judge/hypotheses/hypothesis.h"
#include "judge/hypotheses/read_operand.h"
#include "numerics/dequant.h"

namespace greta {
namespace {

bool is_cache(Stage stage) { return info(stage).kind == StageKind::cache; }

bool is_from_tokens(const Suspect& s) { return s.kind() == StageKind::embedding && s.at.layer == 0; }

/// Named by hypotheses of its own: kv_swapped and kv_unrotated, but for what q's
/// projection made.
bool has_own_name(StageKind kind, Stage other) {
  const bool query = is_projection(other) && info(other).heads == Heads::q;
  return kind == StageKind::cache && !query;
}

/// The operand of other layers, and all else of its width that the layer before has made. What a cache holds
/// of other layers is wrong_layer_cache's.
std::vector<At> of_other_layers(const Suspect& s, At own) {
  std::vector<At> others;
  if (s.kind() == StageKind::cache || is_outside_layers(own.stage)) return others;
  for (int layer = 0; layer < s.config().n_layer; ++layer) {
    if (layer != own.layer) others.push_back({layer, own.stage});
  }
  for (const StageInfo& row : kStageTable) {
    const bool fits = row.row_per == RowPer::token && !is_outside_layers(row.stage) &&
                      row_width({s.at.layer, row.stage}, s.config(), 0) ==
                          row_width({s.at.layer, own.stage}, s.config(), 0);
    if (s.at.layer > 0 && fits && row.stage != own.stage && row.stage != s.at.stage)
      others.push_back({s.at.layer - 1, row.stage});
  }
  return others;
}

std::vector<Candidate> wrong_input(const Suspect& s) {
  std::vector<Candidate> candidates;
  if (is_from_tokens(s) || s.kind() == StageKind::weights) return {};
  const std::vector<At> operands = operands_at(s.config(), s.at);
  for (size_t at = 0; at < operands.size(); ++at) {
    const Stage own = operands[at].stage;
    if (is_cache(own)) continue;
    for (const StageInfo& row : kStageTable) {
      const Stage other = row.stage;
      // residual_after_norm's; and a sum of one thing twice is residual_doubled's.
      const bool residual = s.kind() == StageKind::sum && at == 0;
      if (residual && (is_norm(row.kind) || other == operands[1].stage)) continue;
      if (row.row_per != RowPer::token || other == own || other == s.at.stage) continue;
      if (s.kind() == StageKind::embedding) continue;  // what a layer begins with it has not made
      if (row_width({s.at.layer, other}, s.config(), 0) != row_width({s.at.layer, own}, s.config(), 0))
        continue;
      if (has_own_name(s.kind(), other)) continue;
      candidates.push_back(from_rows(
          at,
          [from = beside(s.at, other, static_cast<int>(s.config().n_layer))](const Observation& seen,
                                                                             const StageProblem& problem) {
            return recorded_rows(*seen.phase, from, problem.positions);
          },
          {fmt::format("{} is computed from {}, not from {}", s.name(), name(other), name(own)),
           fmt::format("{} se calcula a partir de {}, no de {}", s.name(), name(other), name(own))}));
    }
    for (const At other : of_other_layers(s, operands[at])) {
      candidates.push_back(from_rows(
          at,
          [other](const Observation& seen, const StageProblem& problem) {
            return recorded_rows(*seen.phase, other, problem.positions);
          },
          {fmt::format("{} is computed from {} of layer {}", s.name(), name(other.stage), other.layer),
           fmt::format("{} se calcula a partir de {} de la capa {}", s.name(), name(other.stage),
                       other.layer)}));
    }
  }
  return candidates;
}

/// The first and the last position of the block, as far as the stage's input shows: of the stage itself fewer
/// rows may be recorded.
std::pair<int64_t, int64_t> limits(const Observation& seen, const StageProblem& problem) {
  const At input = operands_at(problem.model->config, problem.at).front();
  std::vector<int64_t> all = problem.positions;
  for (const int64_t position : recorded_positions(*seen.phase, input)) all.push_back(position);
  const auto [lowest, highest] = std::minmax_element(all.begin(), all.end());
  return {*lowest, *highest};
}

/// Row r from the rows of another position.
std::vector<Candidate> wrong_row(const Suspect& s) {
  if (is_from_tokens(s) || s.kind() == StageKind::cache) return {};  // token_shift, kv_slot
  struct Which {
    int64_t shift;
    bool first;
    Text whose;
  };
  static const std::array<Which, 3> kinds{
      {{.shift = -1, .first = false, .whose = {"the row before's", "de la fila anterior"}},
       {.shift = 1, .first = false, .whose = {"the next row's", "de la fila siguiente"}},
       {.shift = 0, .first = true, .whose = {"the first row's", "de la primera fila"}}}};
  std::vector<Candidate> candidates;
  const std::vector<At> own = operands_at(s.config(), s.at);
  const auto add = [&](const Which& kind, std::optional<size_t> only) {
    const auto change = [kind, only](const Observation& seen, StageProblem& problem) {
      std::vector<int64_t> from;
      const auto [lowest, highest] = limits(seen, problem);
      for (const int64_t position : problem.positions)
        from.push_back(kind.first ? lowest : std::clamp(position + kind.shift, lowest, highest));
      const std::vector<At> operands = operands_at(problem.model->config, problem.at);
      for (size_t at = 0; at < operands.size(); ++at) {
        if (is_cache(operands[at].stage) || (only && *only != at)) continue;
        auto rows = recorded_rows(*seen.phase, operands[at], from);
        if (!rows || !all_finite(*rows)) return false;
        problem.operands[at] = {std::move(*rows), nullptr};
      }
      return from != problem.positions;
    };
    const std::string input_en = only ? std::string(name(own[*only].stage)) : "input";
    const std::string input_es = only ? std::string(name(own[*only].stage)) : "entrada";
    candidates.push_back(
        {change,
         {fmt::format("a row of {} is computed from {} {}", s.name(), kind.whose.en, input_en),
          fmt::format("una fila de {} se calcula con la {} {}", s.name(), input_es, kind.whose.es)}});
  };
  for (const Which& kind : kinds) {
    add(kind, std::nullopt);
    for (size_t at = 0; at < own.size() && own.size() > 1; ++at) add(kind, at);
  }
  return candidates;
}

std::vector<Candidate> token_shift(const Suspect& s) {
  if (!is_from_tokens(s)) return {};
  std::vector<Candidate> candidates;
  // Past the table's end there is its last row again, or its first.
  for (const bool around : {false, true}) {
    for (const int shift : {1, -1}) {
      candidates.push_back({[=](const Observation&, StageProblem& problem) {
                              const int64_t n = problem.model->config.n_vocab;
                              for (TokenId& id : problem.tokens) {
                                const int64_t other = id + shift;
                                id = static_cast<TokenId>(around ? (other + n) % n
                                                                 : std::clamp<int64_t>(other, 0, n - 1));
                              }
                              return true;
                            },
                            {fmt::format("the embedding of token id {:+d} is used", shift),
                             fmt::format("se usa el embedding del id de token {:+d}", shift)}});
    }
  }
  candidates.push_back(
      {[](const Observation& seen, StageProblem& problem) {
         for (size_t i = 0; i < problem.positions.size(); ++i) {
           const int64_t at = problem.positions[i] - 1;
           if (at < 0) return false;
           problem.tokens[i] = seen.phase->tokens[static_cast<size_t>(at)];
         }
         return true;
       },
       {"the embedding of the token before is used", "se usa el embedding del token anterior"}});
  return candidates;
}

/// Rows of the embedding as they were seen, by the token that each ought to be of.
using SeenRows = std::map<TokenId, std::span<const float>>;

/// Whose rows of the table they are; in one pass, as a table is large.
std::map<TokenId, TokenId> owners_of(const Tensor& table, const SeenRows& rows, double scale) {
  std::map<TokenId, TokenId> owners;
  std::vector<double> decoded(table.dims[0]);
  for (int64_t id = 0; id < row_count(table) && owners.size() < rows.size(); ++id) {
    decode_row(table, id, decoded);
    for (const auto& [own, row] : rows) {
      const bool same = std::ranges::equal(decoded, row, [&](double a, float b) {
        return std::abs(a * scale - static_cast<double>(b)) <= 2e-6 * std::abs(a * scale);
      });
      if (same) owners.try_emplace(own, static_cast<TokenId>(id));
    }
  }
  return owners;
}

/// The wrong rows are other tokens': which, is looked up.
std::vector<Candidate> token_read(const Suspect& s) {
  constexpr size_t kTold = 48;  // characters of them
  if (!is_from_tokens(s) || !s.direct || s.weight() == nullptr) return {};
  SeenRows rows;
  for (const Observation& seen : s.evidence.observations) {
    const size_t width = static_cast<size_t>(seen.width);
    for (int64_t row = 0; row < seen.rows; ++row) {
      if (seen.is_affected(row))
        rows.try_emplace(seen.problem->tokens[static_cast<size_t>(row)],
                         std::span(seen.observed).subspan(static_cast<size_t>(row) * width, width));
    }
  }
  const std::map<TokenId, TokenId> owners =
      owners_of(*s.weight(), rows, s.evidence.observations.front().problem->scale);
  if (owners.empty() || owners.size() < rows.size()) return {};
  std::string pairs;
  for (const auto& [own, other] : owners) {
    if (pairs.size() > kTold) break;
    pairs += fmt::format("{}{} -> {}", pairs.empty() ? "" : ", ", own, other);
  }
  const auto change = [owners](const Observation&, StageProblem& problem) {
    for (TokenId& id : problem.tokens) {
      if (const auto it = owners.find(id); it != owners.end()) id = it->second;
    }
    return true;
  };
  Candidate candidate{change,
                      {"another token's row of the embedding is used: " + pairs,
                       "se usa la fila del embedding de otro token: " + pairs},
                      static_cast<int>(owners.size())};
  candidate.counted = true;
  return {candidate};
}

/// Whose slice, of which row of the block, each head's place takes.
using Slices = std::function<std::pair<int64_t, int64_t>(int64_t row, int64_t head, int64_t rows)>;

Candidate of_slices(const Slices& from, Text title) {
  const auto change = [from](const Observation& seen, StageProblem& problem) {
    const At heads = operands_at(problem.model->config, problem.at).front();
    const std::vector<int64_t> block = recorded_positions(*seen.phase, heads);
    const auto all = recorded_rows(*seen.phase, heads, block);
    const int64_t n = problem.model->config.n_head, rows = std::ssize(block);
    if (!all || !all_finite(*all) || block.back() - block.front() + 1 != rows) return false;
    if (seen.phase->view.seen() == Seen::prefill_last) return false;  // a block's rows, but for one
    const int64_t d = std::ssize(*all) / (n * rows);
    std::vector<float> read;
    for (const int64_t position : problem.positions) {
      for (int64_t head = 0; head < n; ++head) {
        const auto [row, slice] = from(position - block.front(), head, rows);
        const auto begin = all->begin() + (row * n + slice) * d;
        read.insert(read.end(), begin, begin + d);
      }
    }
    problem.operands.front() = {SharedRows(std::move(read)), nullptr};
    return true;
  };
  return {change, std::move(title)};
}

/// Attention's heads, as its output's projection reads them.
std::vector<Candidate> operand_order(const Suspect& s) {
  if (s.kind() != StageKind::projection || !s.direct) return {};
  const At heads = operands_at(s.config(), s.at).front();
  if (info(heads.stage).kind != StageKind::mix) return {};
  const int64_t n = s.config().n_head, kv = s.config().n_head_kv, group = n / kv;
  const std::string_view of = name(heads.stage);
  const auto text = [&](const char* en, const char* es) {
    return Text{fmt::format("{} reads {}: {}", s.name(), of, en),
                fmt::format("{} lee {}: {}", s.name(), of, es)};
  };
  const auto in_row = [](auto slice) {
    return [slice](int64_t row, int64_t head, int64_t) { return std::pair(row, slice(head)); };
  };
  return {of_slices(
              [n](int64_t row, int64_t head, int64_t rows) {
                const int64_t at = row * n + head;
                return std::pair(at % rows, at / rows);
              },
              text("rows and heads are not exchanged: [head][row] is taken for [row][head]",
                   "filas y cabezas no se intercambian: [cabeza][fila] se toma como [fila][cabeza]")),
          of_slices(in_row([n](int64_t head) { return (head + 1) % n; }),
                    text("each head's place takes the next head", "cada cabeza toma la siguiente")),
          of_slices(in_row([n](int64_t head) { return (head + n - 1) % n; }),
                    text("each head's place takes the head before", "cada cabeza toma la anterior")),
          of_slices(in_row([n](int64_t head) { return n - 1 - head; }),
                    text("the heads are in reverse", "las cabezas van al revés")),
          of_slices(
              in_row([=](int64_t head) { return head % kv * group + head / kv; }),
              text("heads are sorted by their place in a group", "las cabezas van por su lugar en el grupo")),
          of_slices(in_row([=](int64_t head) { return head % group * kv + head / group; }),
                    text("groups are sorted by head", "los grupos van por cabeza"))};
}

const std::array<Hypothesis, 6> kInput{{
    {"operand_read",
     {"the op read other rows than were recorded for it: a buffer that is reused, ops in a wrong order, a "
      "stale rounded form, threads that did not meet",
      "la operación leyó otras filas que las grabadas: un búfer reutilizado, operaciones en mal orden, una "
      "forma redondeada obsoleta, hilos que no se esperaron"},
     "https://github.com/ggml-org/ggml/pull/999",
     operand_read},
    {"wrong_input",
     {"the stage is computed from another stage's output",
      "la etapa se calcula a partir de la salida de otra"},
     "B3.42 of the founding engine (RMSNorm's input)",
     wrong_input},
    {"operand_order",
     {"attention's heads are read in another order, or rows and heads are not exchanged",
      "las cabezas de la atención se leen en otro orden, o no se intercambian filas y cabezas"},
     "https://github.com/jsbaan/transformer-from-scratch/issues/4",
     operand_order},
    {"wrong_row",
     {"a row is computed from another row's input", "una fila se calcula con la entrada de otra"},
     "https://github.com/tenstorrent/tt-xla/issues/5940",
     wrong_row},
    {"token_shift",
     {"the embedding of another token is used", "se usa el embedding de otro token"},
     "https://github.com/paiml/realizar/issues/101",
     token_shift},
    {"token_read",
     {"the embedding of other tokens is used; which, is looked up in the table",
      "se usa el embedding de otros tokens; se busca en la tabla cuáles"},
     "https://github.com/paiml/realizar/issues/101",
     token_read},
}};

}  // namespace

std::span<const Hypothesis> input_hypotheses() { return kInput; }

}  // namespace greta
