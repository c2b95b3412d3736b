// Latent attention (MLA) as people get it wrong, and the choice of experts that DeepSeek has beside it.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "judge/hypotheses/hypothesis.h"
#include "model/model.h"

namespace greta {
namespace {

/// Some heads' matrices in the place of the right ones: `of` is the one that head h gets.
Candidate by_matrices(int64_t (*of)(int64_t head, int64_t heads), Text title) {
  return computed_by(
      [of](const StageProblem& p, const Values& values) {
        const auto heads = static_cast<int64_t>(p.weight->dims[2]);
        const int64_t k = static_cast<int64_t>(p.weight->dims[0]);
        const int64_t slots = std::ssize(p.positions) * heads, width = std::ssize(values[0]) / slots;
        std::vector<float> slices, numbers;
        for (int64_t slot = 0; slot < slots; ++slot) {
          const auto own =
              std::span(values[0]).subspan(static_cast<size_t>(slot * width), static_cast<size_t>(k));
          slices.insert(slices.end(), own.begin(), own.end());
          numbers.push_back(static_cast<float>(of(slot % heads, heads)));
        }
        return oracle::expert_matmul(*p.weight, slices, numbers, heads, p.declared.roundings);
      },
      std::move(title));
}

std::vector<Candidate> head_matrix(const Suspect& s) {
  if (s.kind() != StageKind::head_projection) return {};
  return {by_matrices([](int64_t head, int64_t heads) { return (head + 1) % heads; },
                      {"each head has the next one's matrix", "cada cabeza tiene la matriz de la siguiente"}),
          by_matrices(
              [](int64_t head, int64_t heads) { return (head + heads - 1) % heads; },
              {"each head has the matrix of the one before", "cada cabeza tiene la matriz de la anterior"}),
          by_matrices(
              [](int64_t, int64_t) { return int64_t{0}; },
              {"all heads have the first one's matrix", "todas las cabezas tienen la matriz de la primera"}),
          by_matrices([](int64_t head, int64_t heads) { return heads - 1 - head; },
                      {"the heads' matrices are in reverse order",
                       "las matrices de las cabezas están en orden inverso"})};
}

/// What stands at i of a head's slice, of [width] right values; `first`: those of the row's first head.
using Placed = double (*)(const double* own, const double* first, int64_t i, int64_t width, int64_t end);

Candidate joined_by(Placed placed, Text title) {
  return changed_afterwards(
      [placed](const StageProblem& p, const Values&, Expected& expected) {
        const ModelConfig& config = p.model->config;
        const int64_t heads = row_heads(p.at.stage, config), end = config.rope_dims;
        const int64_t row = std::ssize(expected.value) / std::ssize(p.positions), width = row / heads;
        const std::vector<double> right = expected.value;
        for (int64_t at = 0; at < std::ssize(right); ++at) {
          const double* first = right.data() + at / row * row;
          expected.value[static_cast<size_t>(at)] =
              placed(right.data() + at / width * width, first, at % width, width, end);
        }
      },
      std::move(title));
}

std::vector<Candidate> latent_order(const Suspect& s) {
  if (s.kind() != StageKind::join) return {};
  return {joined_by([](const double* own, const double*, int64_t i, int64_t width,
                       int64_t end) { return own[(i + width - end) % width]; },
                    {"the rotated part stands before the other", "la parte rotada está antes que la otra"}),
          joined_by([](const double* own, const double*, int64_t i, int64_t width,
                       int64_t end) { return i < width - end ? 0 : own[i]; },
                    {"only the rotated part is there", "solo está la parte rotada"}),
          joined_by([](const double* own, const double* first, int64_t i, int64_t width,
                       int64_t end) { return i < width - end ? own[i] : first[i]; },
                    {"all heads have the first one's rotated part",
                     "todas las cabezas tienen la parte rotada de la primera"})};
}

std::vector<Candidate> rope_part(const Suspect& s) {
  if (s.kind() != StageKind::rope || model_problem(s.model(), s.at).rope.first == 0) return {};
  return {{.change =
               [](const Observation&, StageProblem& problem) {
                 problem.rope.first = 0;
                 return true;
               },
           .title = {"the first dims of a head turn, not the last",
                     "giran las primeras dimensiones de una cabeza, no las últimas"}}};
}

Candidate chosen_with(std::function<void(StageProblem&)> change, Text title) {
  return {.change =
              [change = std::move(change)](const Observation&, StageProblem& problem) {
                change(problem);
                return true;
              },
          .title = std::move(title)};
}

/// The choice of a changed problem, in the order in which a recorded one is compared.
Candidate chosen_otherwise(std::function<void(StageProblem&)> change, Text title) {
  return computed_by(
      [change = std::move(change)](const StageProblem& p, const Values& values) {
        StageProblem other = p;
        change(other);
        const Expected chosen = right_of(other, values);
        const std::vector<float> numbers(chosen.value.begin(), chosen.value.end());
        const std::vector<float> in_order =
            oracle::settle_ties(numbers, values[0], {}, p.experts, Format::f32, choice_biases(p));
        return Expected{{in_order.begin(), in_order.end()}, std::vector<double>(numbers.size(), 0.0)};
      },
      std::move(title));
}

std::vector<Candidate> expert_choice(const Suspect& s) {
  if (s.kind() != StageKind::choice) return {};
  const ExpertChoice& own = s.config().choice;
  std::vector<Candidate> candidates;
  if (bias_of(s.model(), {s.at.stage, s.at.layer}) != nullptr)
    candidates.push_back(chosen_otherwise(
        [](StageProblem& p) { p.bias = nullptr; },
        {"experts are chosen without their biases", "los expertos se eligen sin sus sesgos"}));
  if (own.groups_used == own.groups) return candidates;
  candidates.push_back(chosen_otherwise([](StageProblem& p) { p.experts.choice.groups = 1; },
                                        {"experts are chosen from all groups, not from the best ones",
                                         "los expertos se eligen de todos los grupos, no de los mejores"}));
  for (const int64_t best : {1, 2, 4}) {
    if (best == own.group_best || best > s.config().n_expert / own.groups) continue;
    candidates.push_back(chosen_otherwise(
        [best](StageProblem& p) { p.experts.choice.group_best = best; },
        {fmt::format("a group is as good as its best {} experts, not its best {}", best, own.group_best),
         fmt::format("un grupo vale lo que sus {} mejores expertos, no sus {}", best, own.group_best)}));
  }
  return candidates;
}

/// Of a probability: what people take in the place of a sigmoid.
std::vector<Candidate> expert_probabilities(const Suspect& s) {
  if (s.kind() != StageKind::probabilities) return {};
  const auto softmax = [](const StageProblem& p, const Values& values) {
    Expected expected;
    const auto n = static_cast<size_t>(p.experts.experts);
    for (size_t row = 0; row + n <= values[0].size(); row += n) {
      double sum = 0;
      for (size_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(values[0][row + i]));
      for (size_t i = 0; i < n; ++i)
        expected.value.push_back(std::exp(static_cast<double>(values[0][row + i])) / sum);
    }
    for (const double x : expected.value) expected.bound.push_back(64 * bounds::kU * x);
    return expected;
  };
  return {computed_by(softmax, {"a softmax of the scores in the place of a sigmoid of each",
                                "un softmax de las puntuaciones en lugar de una sigmoide de cada una"})};
}

std::vector<Candidate> expert_correction(const Suspect& s) {
  if (s.kind() != StageKind::choice_weights) return {};
  std::vector<Candidate> candidates;
  const double scale = s.config().choice.scale;
  const auto by = [&](double factor, Text title) {
    candidates.push_back(
        chosen_with([factor](StageProblem& p) { p.experts.choice.scale = factor; }, std::move(title)));
  };
  if (scale != 1) {
    by(1, {fmt::format("the weights are not multiplied by the model's {:.6g}", scale),
           fmt::format("los pesos no se multiplican por {:.6g}, del modelo", scale)});
    by(scale * scale, {fmt::format("the weights are multiplied twice by the model's {:.6g}", scale),
                       fmt::format("los pesos se multiplican dos veces por {:.6g}, del modelo", scale)});
  }
  const Tensor* bias = bias_of(s.model(), {Stage::experts, s.at.layer});
  if (bias == nullptr) return candidates;
  candidates.push_back(computed_by(
      [bias](const StageProblem& p, const Values& values) {
        StageProblem choice = p;
        choice.kind = StageKind::choice;
        choice.bias = bias;
        const std::vector<double> biases = choice_biases(choice);
        std::vector<float> scores(values[0].begin(), values[0].end());
        for (size_t i = 0; i < scores.size(); ++i)
          scores[i] = static_cast<float>(static_cast<double>(scores[i]) + biases[i % biases.size()]);
        Expected expected = right_of(p, {SharedRows(std::move(scores)), values[1]});
        for (size_t i = 0; i < expected.value.size(); ++i)
          expected.bound[i] += 4 * bounds::kU * std::abs(expected.value[i]);
        return expected;
      },
      {"the biases of the choice are in the weights, too",
       "los sesgos de la elección están también en los pesos"}));
  return candidates;
}

constexpr const char* kAbsorbed = "https://github.com/vllm-project/vllm/pull/52512";
constexpr const char* kGrouped = "https://github.com/flashinfer-ai/flashinfer/pull/2889";
constexpr const char* kLatentOrder = "https://github.com/ROCm/aiter/issues/1455";

const std::array<Hypothesis, 3> kLatent{{
    {"head_matrix",
     {"a head's half of Wkv_b is another head's", "la mitad de Wkv_b de una cabeza es la de otra"},
     kAbsorbed,
     head_matrix},
    {"latent_order",
     {"a head's latent and rotated parts change places, or one is missing",
      "las partes latente y rotada de una cabeza cambian de sitio, o falta una"},
     kLatentOrder,
     latent_order},
    {"rope_part",
     {"RoPE turns the first part of a head, not the last",
      "RoPE gira la primera parte de una cabeza, no la última"},
     kLatentOrder,
     rope_part},
}};

const std::array<Hypothesis, 3> kChoice{{
    {"expert_choice",
     {"experts are chosen without their biases, or from other groups",
      "los expertos se eligen sin sus sesgos, o de otros grupos"},
     kGrouped,
     expert_choice},
    {"expert_probabilities",
     {"a softmax in the place of the experts' sigmoids",
      "un softmax en lugar de las sigmoides de los expertos"},
     kGrouped,
     expert_probabilities},
    {"expert_correction",
     {"the experts' weights have the choice's biases, or not the model's factor",
      "los pesos de los expertos tienen los sesgos de la elección, o no el factor del modelo"},
     kGrouped,
     expert_correction},
}};

}  // namespace

std::span<const Hypothesis> latent_hypotheses() { return kLatent; }
std::span<const Hypothesis> choice_hypotheses() { return kChoice; }

}  // namespace greta
