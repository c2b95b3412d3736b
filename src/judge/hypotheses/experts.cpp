// A mixture of experts as people get it wrong: which experts, whose weight, which sum.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "judge/hypotheses/hypothesis.h"
#include "judge/hypotheses/rounding.h"
#include "numerics/dequant.h"

namespace greta {
namespace {

using Numbers = std::vector<float>;

/// One row's numbers of experts from its right ones and its scores.
using Choose = std::function<Numbers(std::span<const float> scores, std::span<const float> right)>;

/// The whole choice, in the order in which a recorded one is compared.
Candidate chosen_by(Choose choose, Text title) {
  return computed_by(
      [choose = std::move(choose)](const StageProblem& p, const Values& values) {
        const Expected right = right_of(p, values);
        const std::vector<float> numbers(right.value.begin(), right.value.end());
        const auto experts = static_cast<size_t>(p.experts.experts),
                   used = static_cast<size_t>(p.experts.used);
        std::vector<float> other;
        for (size_t row = 0; row * used < numbers.size(); ++row) {
          const Numbers its = choose(std::span(values[0]).subspan(row * experts, experts),
                                     std::span(numbers).subspan(row * used, used));
          other.insert(other.end(), its.begin(), its.end());
        }
        other = oracle::settle_ties(other, values[0], {}, p.experts, Format::f32, choice_biases(p));
        return Expected{{other.begin(), other.end()}, std::vector<double>(other.size(), 0.0)};
      },
      std::move(title));
}

/// The `count` highest by `value`, which gets a score.
template <class Value>
Numbers highest(std::span<const float> scores, size_t count, Value value) {
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return value(scores[a]) > value(scores[b]); });
  Numbers numbers;
  for (size_t i = 0; i < count && i < order.size(); ++i) numbers.push_back(static_cast<float>(order[i]));
  return numbers;
}

/// Numbers moved by one, around the end.
float moved_by(float number, int64_t by, size_t experts) {
  const auto n = static_cast<int64_t>(experts);
  return static_cast<float>((static_cast<int64_t>(number) + by + n) % n);
}

std::vector<Candidate> of_choice() {
  using Scores = std::span<const float>;
  std::vector<Candidate> candidates;
  for (const int by : {1, -1}) {
    candidates.push_back(chosen_by(
        [by](Scores scores, Scores right) {
          Numbers numbers(right.begin(), right.end());
          for (float& number : numbers) number = moved_by(number, by, scores.size());
          return numbers;
        },
        {fmt::format("the numbers of the chosen experts are {} by one", by > 0 ? "too high" : "too low"),
         fmt::format("los números de los expertos elegidos son {} en uno",
                     by > 0 ? "demasiado altos" : "demasiado bajos")}));
  }
  const auto by_value = [&](auto value, Text title) {
    candidates.push_back(
        chosen_by([value](Scores scores, Scores right) { return highest(scores, right.size(), value); },
                  std::move(title)));
  };
  by_value([](float x) { return -x; }, {"the experts with the lowest scores are chosen",
                                        "se eligen los expertos de puntuación más baja"});
  by_value([](float x) { return std::abs(x); },
           {"experts are chosen by the magnitude of their scores",
            "los expertos se eligen por la magnitud de sus puntuaciones"});
  by_value([](float) { return 0.0f; },
           {"the first experts are chosen, whatever their scores",
            "se eligen los primeros expertos, sean cuales sean sus puntuaciones"});
  candidates.push_back(chosen_by(
      [](Scores scores, Scores right) {
        Numbers numbers = highest(scores, right.size() + 1, [](float x) { return x; });
        numbers.erase(numbers.begin());
        return numbers;
      },
      {"the expert with the highest score is passed over", "se omite el experto de puntuación más alta"}));
  candidates.push_back(chosen_by([](Scores, Scores right) { return Numbers(right.size(), right.front()); },
                                 {"the expert with the highest score is chosen every time",
                                  "se elige siempre el experto de puntuación más alta"}));
  return candidates;
}

/// The number of an expert in the place of `own`, the one at `slot` of a row.
using Number = float (*)(std::span<const float> row, size_t slot, size_t experts);

struct Misnumbering {
  Number number;
  Text title;
};

const std::array<Misnumbering, 5> kMisnumbered{{
    {[](std::span<const float> row, size_t slot, size_t experts) { return moved_by(row[slot], 1, experts); },
     {"the matrices of the next expert are used", "se usan las matrices del experto siguiente"}},
    {[](std::span<const float> row, size_t slot, size_t experts) { return moved_by(row[slot], -1, experts); },
     {"the matrices of the expert before are used", "se usan las matrices del experto anterior"}},
    {[](std::span<const float>, size_t slot, size_t) { return static_cast<float>(slot); },
     {"the place in the choice is taken for the expert's number",
      "el lugar en la elección se toma por el número del experto"}},
    {[](std::span<const float> row, size_t, size_t) { return row[0]; },
     {"the first chosen expert's matrices are used for all", "se usan para todos las matrices del primero"}},
    {[](std::span<const float> row, size_t slot, size_t) { return row[row.size() - 1 - slot]; },
     {"the chosen experts' matrices are used in reverse order",
      "las matrices de los expertos elegidos se usan en orden inverso"}},
}};

/// Products by the matrices of others than the recorded numbers name.
std::vector<Candidate> of_products() {
  std::vector<Candidate> candidates;
  for (const Misnumbering& other : kMisnumbered) {
    candidates.push_back(computed_by(
        [number = other.number](const StageProblem& p, const Values& values) {
          const auto used = static_cast<size_t>(p.experts.used),
                     experts = static_cast<size_t>(p.experts.experts);
          std::vector<float> numbers;
          for (size_t i = 0; i < values[1].size(); ++i)
            numbers.push_back(number(std::span(values[1]).subspan(i / used * used, used), i % used, experts));
          return right_of(p, {values[0], SharedRows(std::move(numbers))});
        },
        other.title));
  }
  return candidates;
}

std::vector<Candidate> wrong_expert(const Suspect& s) {
  if (s.kind() == StageKind::choice && s.direct) return of_choice();
  if (s.kind() == StageKind::expert_projection) return of_products();
  return {};
}

/// An expert whose bias is taken in the place of the one at `slot`; -1: none is.
struct BiasOf {
  Number number;
  Text title;
};

const std::array<BiasOf, 5> kBiases{{
    {[](std::span<const float>, size_t, size_t) { return -1.0f; },
     {"the experts' biases are not added", "no se suman los sesgos de los expertos"}},
    {[](std::span<const float> row, size_t slot, size_t experts) { return moved_by(row[slot], 1, experts); },
     {"the next expert's bias is added", "se suma el sesgo del experto siguiente"}},
    {[](std::span<const float> row, size_t slot, size_t experts) { return moved_by(row[slot], -1, experts); },
     {"the bias of the expert before is added", "se suma el sesgo del experto anterior"}},
    {[](std::span<const float>, size_t, size_t) { return 0.0f; },
     {"the first expert's bias is added to all", "se suma a todos el sesgo del primer experto"}},
    {[](std::span<const float>, size_t slot, size_t) { return static_cast<float>(slot); },
     {"biases are taken by the place in the choice, not by the expert's number",
      "los sesgos se toman por el lugar en la elección, no por el número del experto"}},
}};

std::vector<Candidate> expert_bias(const Suspect& s) {
  if (s.kind() != StageKind::expert_projection || bias_of(s.model(), {s.at.stage, s.at.layer}) == nullptr)
    return {};
  std::vector<Candidate> candidates;
  for (const BiasOf& other : kBiases) {
    candidates.push_back(computed_by(
        [number = other.number](const StageProblem& p, const Values& values) {
          StageProblem without = p;
          without.how = {};
          without.bias = nullptr;
          Expected expected = right_of(without, values);
          const auto used = static_cast<size_t>(p.experts.used),
                     experts = static_cast<size_t>(p.experts.experts),
                     n = static_cast<size_t>(p.bias->dims[0]);
          std::vector<double> bias(n);
          for (size_t slot = 0; slot < values[1].size(); ++slot) {
            const float its =
                number(std::span(values[1]).subspan(slot / used * used, used), slot % used, experts);
            if (its < 0 || its >= static_cast<float>(experts)) continue;
            decode_row(*p.bias, static_cast<int64_t>(its), bias);
            for (size_t i = 0; i < n; ++i) {
              double& value = expected.value[slot * n + i];
              value += bias[i];
              expected.bound[slot * n + i] += 2 * bounds::kU * (std::abs(bias[i]) + std::abs(value));
            }
          }
          return expected;
        },
        other.title));
  }
  return candidates;
}

/// Of a choice by scores of fewer bits: of equal ones the lower number. (Weights: undeclared_rounding's.)
std::vector<Candidate> router_rounded(const Suspect& s) {
  if (s.kind() != StageKind::choice || !s.direct) return {};
  std::vector<Candidate> candidates;
  for (const Format format : {Format::f16, Format::bf16}) {
    candidates.push_back(computed_by(
        [format](const StageProblem& p, const Values& values) {
          std::vector<float> rounded;
          for (const float x : values[0])
            rounded.push_back(static_cast<float>(rounded_to(static_cast<double>(x), format)));
          const std::vector<double> biases = choice_biases(p);
          const Expected chosen = oracle::choose_experts(rounded, p.experts, biases);
          const std::vector<float> numbers(chosen.value.begin(), chosen.value.end());
          const std::vector<float> in_order =
              oracle::settle_ties(numbers, values[0], {}, p.experts, Format::f32, biases);
          return Expected{{in_order.begin(), in_order.end()}, std::vector<double>(numbers.size(), 0.0)};
        },
        {fmt::format("experts are chosen by scores that are rounded to {}", greta::name(format)),
         fmt::format("los expertos se eligen por puntuaciones redondeadas a {}", greta::name(format))}));
  }
  return candidates;
}

std::vector<Candidate> weights_normalised(const Suspect& s) {
  if (s.kind() != StageKind::choice_weights) return {};
  const bool own = s.config().experts_sum_to_1;
  return {{.change =
               [own](const Observation&, StageProblem& problem) {
                 problem.experts.sum_to_1 = !own;
                 return true;
               },
           .title = own ? Text{"the weights of the chosen experts are not divided by their sum",
                               "los pesos de los expertos elegidos no se dividen por su suma"}
                        : Text{"the weights of the chosen experts are divided by their sum",
                               "los pesos de los expertos elegidos se dividen por su suma"}}};
}

/// A few roundings of each weight.
Expected of_weights(std::vector<double> value) {
  Expected expected{std::move(value), {}};
  for (const double x : expected.value)
    expected.bound.push_back(16 * bounds::kU * std::abs(x) + bounds::kTiny);
  return expected;
}

double sigmoid_of(double x) { return 1 / (1 + std::exp(-x)); }

std::vector<Candidate> weights_function(const Suspect& s) {
  if (s.kind() != StageKind::choice_weights) return {};
  struct Function {
    double (*of)(double score);
    bool sum_to_1;
    Text title;
  };
  static const std::array<Function, 4> functions{{
      {sigmoid_of, false, {"the weights are a sigmoid of the scores", "los pesos son una sigmoide"}},
      {sigmoid_of,
       true,
       {"the weights are a sigmoid, divided by its sum", "los pesos son una sigmoide entre su suma"}},
      {[](double x) { return x; },
       false,
       {"the weights are the scores themselves", "los pesos son las puntuaciones"}},
      {[](double) { return 1.0; },
       true,
       {"all chosen experts weigh the same", "todos los expertos pesan igual"}},
  }};
  std::vector<Candidate> candidates;
  for (const Function& function : functions) {
    candidates.push_back(computed_by(
        [of = function.of, sum_to_1 = function.sum_to_1](const StageProblem& p, const Values& values) {
          const auto used = static_cast<size_t>(p.experts.used),
                     experts = static_cast<size_t>(p.experts.experts);
          std::vector<double> weights;
          for (size_t i = 0; i < values[1].size(); ++i) {
            const auto expert =
                static_cast<size_t>(std::clamp<float>(values[1][i], 0, static_cast<float>(experts - 1)));
            weights.push_back(of(static_cast<double>(values[0][i / used * experts + expert])));
          }
          for (size_t row = 0; sum_to_1 && row < weights.size(); row += used) {
            double sum = 0;
            for (size_t i = row; i < row + used; ++i) sum += weights[i];
            for (size_t i = row; i < row + used; ++i) weights[i] /= sum;
          }
          return of_weights(std::move(weights));
        },
        function.title));
  }
  return candidates;
}

/// The place in the choice whose weight a slot gets.
struct Order {
  size_t (*from)(std::span<const float> numbers, size_t slot);
  Text title;
};

/// The rank of a slot's expert by number.
size_t by_number(std::span<const float> numbers, size_t slot) {
  size_t lower = 0;
  for (const float number : numbers) lower += number < numbers[slot];
  return lower;
}

const std::array<Order, 3> kOrders{{
    {[](std::span<const float> numbers, size_t slot) { return numbers.size() - 1 - slot; },
     {"each chosen expert has the weight of the one at the other end of the choice",
      "cada experto elegido tiene el peso del que está en el otro extremo de la elección"}},
    {[](std::span<const float> numbers, size_t slot) { return (slot + 1) % numbers.size(); },
     {"each chosen expert has the next one's weight", "cada experto elegido tiene el peso del siguiente"}},
    {by_number,
     {"the weights are in the order of the experts' numbers, or the experts of their weights",
      "los pesos están en el orden de los números de los expertos, o al revés"}},
}};

std::vector<Candidate> expert_order(const Suspect& s) {
  const bool weights = s.kind() == StageKind::choice_weights;
  if (!weights && s.kind() != StageKind::combination) return {};
  std::vector<Candidate> candidates;
  for (const Order& order : kOrders) {
    if (!weights && order.from == by_number) continue;  // the sum is made without numbers
    candidates.push_back(computed_by(
        [from = order.from, weights](const StageProblem& p, const Values& values) {
          const auto used = static_cast<size_t>(p.experts.used);
          const auto source = [&](size_t i) {
            const size_t row = i / used * used;
            return row + from(std::span(values[1]).subspan(row, used), i % used);
          };
          if (weights) {
            Expected right = right_of(p, values), other = right;
            for (size_t i = 0; i < right.value.size(); ++i)
              other.value[i] = right.value[source(i)], other.bound[i] = right.bound[source(i)];
            return other;
          }
          std::vector<float> moved;
          for (size_t i = 0; i < values[1].size(); ++i) moved.push_back(values[1][source(i)]);
          return right_of(p, {values[0], SharedRows(std::move(moved))});
        },
        order.title));
  }
  return candidates;
}

/// The sum with other weights: `other` changes a row's.
Candidate combined_by(std::function<void(std::vector<double>& row)> other, Text title) {
  return computed_by(
      [other = std::move(other)](const StageProblem& p, const Values& values) {
        const auto used = static_cast<size_t>(p.experts.used);
        std::vector<float> weights;
        for (size_t row = 0; row < values[1].size(); row += used) {
          std::vector<double> own;
          for (size_t i = row; i < row + used; ++i) own.push_back(static_cast<double>(values[1][i]));
          other(own);
          weights.insert(weights.end(), own.begin(), own.end());
        }
        Expected expected = right_of(p, {values[0], SharedRows(std::move(weights))});
        for (double& bound : expected.bound) bound *= 3;  // of what the weights are on the way
        return expected;
      },
      std::move(title));
}

std::vector<Candidate> experts_dropped(const Suspect& s) {
  if (s.kind() != StageKind::combination) return {};
  std::vector<Candidate> candidates;
  const auto used = static_cast<size_t>(s.config().n_expert_used);
  for (size_t slot = 0; slot < used; ++slot) {
    candidates.push_back(combined_by([slot](std::vector<double>& row) { row[slot] = 0; },
                                     {fmt::format("the chosen expert {} of {} is left out", slot + 1, used),
                                      fmt::format("se omite el experto elegido {} de {}", slot + 1, used)}));
  }
  candidates.push_back(
      combined_by([](std::vector<double>& row) { std::fill(row.begin() + 1, row.end(), 0.0); },
                  {"only the first chosen expert is there", "solo queda el primer experto elegido"}));
  candidates.push_back(
      combined_by([](std::vector<double>& row) { std::fill(row.begin(), row.end() - 1, 0.0); },
                  {"only the last chosen expert is there", "solo queda el último experto elegido"}));
  return candidates;
}

std::vector<Candidate> experts_unweighted(const Suspect& s) {
  if (s.kind() != StageKind::combination) return {};
  const auto scaled = [](std::vector<double>& row) {
    const double sum = std::accumulate(row.begin(), row.end(), 0.0);
    for (double& weight : row) weight /= sum;
  };
  return {
      combined_by([](std::vector<double>& row) { std::fill(row.begin(), row.end(), 1.0); },
                  {"the experts' outputs are added without their weights",
                   "las salidas de los expertos se suman sin sus pesos"}),
      combined_by(
          [](std::vector<double>& row) {
            std::fill(row.begin(), row.end(), 1 / static_cast<double>(row.size()));
          },
          {"the mean of the experts' outputs is taken", "se toma la media de las salidas de los expertos"}),
      combined_by(
          [](std::vector<double>& row) {
            for (double& weight : row) weight *= weight;
          },
          {"the experts' outputs are weighted twice", "las salidas de los expertos se ponderan dos veces"}),
      combined_by(scaled,
                  {"the sum is divided by that of the weights", "la suma se divide por la de los pesos"})};
}

/// Of the sum of a shared expert and the chosen ones; and of the gate of the former.
std::vector<Candidate> shared_expert(const Suspect& s) {
  if (s.at.stage != Stage::ffn_out) return {};
  const auto with = [](double shared, double chosen, Text title) {
    return computed_by(
        [=](const StageProblem&, const Values& values) {
          Expected expected;
          for (size_t i = 0; i < values[0].size(); ++i) {
            const double a = static_cast<double>(values[0][i]), b = static_cast<double>(values[1][i]);
            expected.value.push_back(shared * a + chosen * b);
            expected.bound.push_back(4 * bounds::kU * (std::abs(a) + std::abs(b)) + bounds::kTiny);
          }
          return expected;
        },
        std::move(title));
  };
  return {with(0, 1, {"the shared expert is dropped", "se omite el experto compartido"}),
          with(2, 1, {"the shared expert is added twice", "el experto compartido se suma dos veces"}),
          with(1, 0, {"the chosen experts are dropped", "se omiten los expertos elegidos"}),
          with(1, 2, {"the chosen experts are added twice", "los expertos elegidos se suman dos veces"}),
          with(0.5, 0.5,
               {"the mean of the shared and the chosen experts is taken",
                "se toma la media del experto compartido y los elegidos"})};
}

std::vector<Candidate> shared_expert_gate(const Suspect& s) {
  if (s.kind() != StageKind::gated) return {};
  struct Function {
    double (*of)(double gate);
    Text title;
  };
  static const std::array<Function, 4> functions{{
      {[](double) { return 1.0; }, {"the gate is left out", "se omite la compuerta"}},
      {[](double x) { return x; }, {"the gate has no sigmoid", "la compuerta no tiene sigmoide"}},
      {[](double x) { return x * sigmoid_of(x); }, {"the gate is a SiLU", "la compuerta es una SiLU"}},
      {[](double x) { return 1 - sigmoid_of(x); }, {"1 - sigmoid is taken", "se toma 1 - sigmoide"}},
  }};
  std::vector<Candidate> candidates;
  for (const Function& function : functions) {
    candidates.push_back(computed_by(
        [of = function.of](const StageProblem&, const Values& values) {
          const size_t width = values[0].size() / values[1].size();
          std::vector<double> value;
          for (size_t i = 0; i < values[0].size(); ++i)
            value.push_back(static_cast<double>(values[0][i]) *
                            of(static_cast<double>(values[1][i / width])));
          return of_weights(std::move(value));
        },
        function.title));
  }
  return candidates;
}

constexpr const char* kRouting = "https://github.com/flashinfer-ai/flashinfer/pull/2889";
constexpr const char* kOrder = "https://github.com/vllm-project/vllm/issues/54521";
constexpr const char* kChosen = "https://github.com/radixark/miles/issues/2722";

const std::array<Hypothesis, 10> kExperts{{
    {"expert_bias",
     {"the experts' biases are not added, or other experts' are",
      "no se suman los sesgos de los expertos, o se suman los de otros"},
     "https://github.com/NVIDIA-NeMo/Automodel/pull/2591",
     expert_bias},
    {"wrong_expert",
     {"other experts are chosen, or other experts' matrices used", "se eligen o se usan otros expertos"},
     kRouting,
     wrong_expert},
    {"router_rounded",
     {"experts are chosen by scores that are rounded to 16 bits",
      "los expertos se eligen por puntuaciones redondeadas a 16 bits"},
     kRouting,
     router_rounded},
    {"expert_weights_normalised",
     {"the experts' weights are divided by their sum where they should not, or not where they should",
      "los pesos de los expertos se dividen por su suma cuando no deben, o no cuando deben"},
     "https://github.com/lablup/mlxcel/pull/391",
     weights_normalised},
    {"expert_weights_function",
     {"the experts' weights are another function of the scores",
      "los pesos de los expertos son otra función de las puntuaciones"},
     "https://github.com/MetaX-MACA/vLLM-metax/issues/270",
     weights_function},
    {"expert_order",
     {"weights and chosen experts are in different orders",
      "los pesos y los expertos elegidos están en órdenes distintos"},
     kOrder,
     expert_order},
    {"expert_dropped",
     {"a chosen expert is left out of the sum", "se omite de la suma un experto elegido"},
     kChosen,
     experts_dropped},
    {"experts_unweighted",
     {"the experts' outputs are not weighted, or twice",
      "las salidas de los expertos no se ponderan, o dos veces"},
     kChosen,
     experts_unweighted},
    {"shared_expert",
     {"the shared expert, or the chosen ones, are dropped or doubled",
      "el experto compartido, o los elegidos, se omiten o se doblan"},
     "https://github.com/sgl-project/sglang/pull/26845",
     shared_expert},
    {"shared_expert_gate",
     {"the gate of the shared expert is left out, or another function",
      "la compuerta del experto compartido se omite, o es otra función"},
     "https://github.com/NousResearch/torchtitan/pull/36",
     shared_expert_gate},
}};

}  // namespace

std::span<const Hypothesis> expert_hypotheses() { return kExperts; }

}  // namespace greta
