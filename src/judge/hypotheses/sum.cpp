// What goes wrong inside a matrix product: parts of the sum, and roundings that nobody declared.

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "judge/hypotheses/block_products.h"
#include "judge/hypotheses/block_sums.h"
#include "judge/hypotheses/hypothesis.h"
#include "judge/hypotheses/misread_weights.h"
#include "judge/hypotheses/read_operand.h"
#include "judge/hypotheses/rounding.h"
#include "judge/hypotheses/sum_parts.h"
#include "judge/residual_pattern.h"
#include "numerics/activation.h"
#include "numerics/dequant.h"

namespace greta {
namespace {

/// The weight with columns left out or counted twice.
std::shared_ptr<OwnedMatrix> with_parts(const Tensor& weight, const Partition& partition,
                                        const std::vector<double>& factor) {
  std::shared_ptr<OwnedMatrix> matrix = decoded(weight);
  const int64_t k = static_cast<int64_t>(weight.dims[0]);
  for (size_t i = 0; i < matrix->data.size(); ++i) {
    const int64_t part = partition.of(static_cast<int64_t>(i) % k);
    matrix->data[i] *= static_cast<float>(factor[static_cast<size_t>(part)]);
  }
  return matrix;
}

/// The input with columns left out or counted twice: the weight's own blocks stay as they are.
Candidate with_input_parts(const Partition& partition, const std::vector<double>& factor, Text title) {
  return {.change =
              [=](const Observation&, StageProblem& problem) {
                const SharedRows& x = problem.operands.front().values;
                const int64_t k = static_cast<int64_t>(problem.weight->dims[0]);
                std::vector<float> parts(x.begin(), x.end());
                for (size_t i = 0; i < parts.size(); ++i) {
                  const int64_t part = partition.of(static_cast<int64_t>(i) % k);
                  parts[i] *= static_cast<float>(factor[static_cast<size_t>(part)]);
                }
                problem.operands.front() = {std::move(parts), nullptr};
                return !x.empty();
              },
          .title = std::move(title)};
}

/// Whether each block that the kernel rounds its input by keeps one factor.
bool keeps_blocks(const Partition& partition, const std::vector<double>& factor, Format activation,
                  int64_t k) {
  if (!is_block(activation)) return true;
  const int64_t block = activation == Format::q8_k ? kSuperBlock : kActivationBlock;
  const auto factor_of = [&](int64_t j) { return factor[static_cast<size_t>(partition.of(j))]; };
  for (int64_t j = 0; j < k; ++j) {
    if (factor_of(j) != factor_of(j / block * block)) return false;
  }
  return true;
}

void add_partition(const Suspect& s, const Partition& partition, std::vector<Candidate>& candidates) {
  const std::vector<double> found =
      part_weights(s, partition, [](const Tensor& weight, int64_t row, double* values) {
        decode_row(weight, row, {values, weight.dims[0]});
      });
  std::set<int64_t> missing, doubled;
  std::vector<double> factor(found.size(), 1.0);
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i] < -0.5) missing.insert(static_cast<int64_t>(i));
    if (found[i] > 0.5) doubled.insert(static_cast<int64_t>(i));
    factor[i] = found[i] < -0.5 ? 0 : (found[i] > 0.5 ? 2 : 1);
  }
  const bool all = missing.size() == found.size() || doubled.size() == found.size();
  if (all || (missing.empty() && doubled.empty())) return;
  const Tensor& weight = *s.evidence.observations.front().problem->weight;
  const int64_t k = static_cast<int64_t>(weight.dims[0]);
  Text title;
  if (!missing.empty()) {
    title.en = "the sum leaves out " + parts_text(partition, missing, k, Language::english);
    title.es = "la suma omite " + parts_text(partition, missing, k, Language::spanish);
  }
  if (!doubled.empty()) {
    title.en += (missing.empty() ? "the sum counts twice " : " and counts twice ") +
                parts_text(partition, doubled, k, Language::english);
    title.es += (missing.empty() ? "la suma cuenta dos veces " : " y cuenta dos veces ") +
                parts_text(partition, doubled, k, Language::spanish);
  }
  const Format activation = s.evidence.observations.front().problem->declared.roundings.activation;
  if (keeps_blocks(partition, factor, activation, k)) {
    candidates.push_back(with_input_parts(partition, factor, std::move(title)));
  } else {
    candidates.push_back(with_weight(with_parts(weight, partition, factor), std::move(title)));
  }
}

std::vector<Candidate> truncated(const Suspect& s) {
  if (!s.direct || s.kind() != StageKind::projection) return {};
  const int64_t k = static_cast<int64_t>(s.evidence.observations.front().problem->weight->dims[0]);
  std::vector<Candidate> candidates;
  for (const Partition& partition : partitions_of(k)) add_partition(s, partition, candidates);
  return candidates;
}

/// One element of the weight is wrong: output i is off by delta x[j] in every row. j and delta are estimated.
std::vector<Candidate> weight_element(const Suspect& s) {
  if (!s.direct || s.kind() != StageKind::projection) return {};
  struct Off {
    std::vector<double> x;
    double error;
  };
  std::vector<Off> rows;
  std::set<int64_t> outputs;
  for (const Observation& seen : s.evidence.observations) {
    const SharedRows& x = seen.problem->operands.front().values;
    const size_t k = static_cast<size_t>(seen.problem->weight->dims[0]);
    for (size_t i = 0; i < seen.observed.size() && !x.empty(); ++i) {
      const double error = static_cast<double>(seen.observed[i]) - seen.right.value[i];
      if (!seen.in_affected(i) || !(std::abs(error) > seen.right.bound[i])) continue;
      outputs.insert(static_cast<int64_t>(i) % seen.width);
      const size_t row = i / static_cast<size_t>(seen.width);
      rows.push_back(
          {round_activations(std::span(x).subspan(row * k, k), seen.problem->declared.roundings.activation)
               .value,
           error / seen.problem->scale});
      if (outputs.size() > 1) return {};
    }
  }
  if (rows.size() < 2) return {};  // any element would do
  size_t best = 0;
  double best_delta = 0, least = std::numeric_limits<double>::infinity();
  for (size_t j = 0; j < rows.front().x.size(); ++j) {
    double both = 0, square = 0, left = 0;
    for (const Off& row : rows) {
      both += row.x[j] * row.error;
      square += row.x[j] * row.x[j];
    }
    if (!(square > 0)) continue;
    for (const Off& row : rows) left += std::pow(row.error - both / square * row.x[j], 2);
    if (left < least) {
      least = left;
      best = j;
      best_delta = both / square;
    }
  }
  auto matrix = decoded(*s.evidence.observations.front().problem->weight);
  const size_t i = static_cast<size_t>(*outputs.begin());
  matrix->data[i * rows.front().x.size() + best] += static_cast<float>(best_delta);
  const std::string w = weight_label(s.at.stage);
  return {with_weight(
      matrix,
      {fmt::format("one element of {} is wrong: [{}][{}] is off by {:.3g}", w, i, best, best_delta),
       fmt::format("un elemento de {} es incorrecto: [{}][{}] difiere en {:.3g}", w, i, best, best_delta)},
      2)};
}

/// The sum in ascending k, rounded to `format` after every addition.
Expected narrow_sum(const StageProblem& problem, const Values& values, Format format) {
  Expected expected = oracle::matmul(*problem.weight, values[0], std::ssize(problem.positions),
                                     problem.declared.roundings, problem.bias, problem.scale);
  const size_t k = static_cast<size_t>(problem.weight->dims[0]),
               n = static_cast<size_t>(row_count(*problem.weight));
  std::vector<double> row(k), bias(n);
  if (problem.bias != nullptr) decode_row(*problem.bias, 0, bias);
  std::vector<ActivationRow> x;
  for (size_t r = 0; r < problem.positions.size(); ++r) {
    x.push_back(
        round_activations(std::span(values[0]).subspan(r * k, k), problem.declared.roundings.activation));
  }
  for (size_t i = 0; i < n; ++i) {
    decode_row(*problem.weight, static_cast<int64_t>(i), row);
    for (size_t r = 0; r < problem.positions.size(); ++r) {
      double sum = bias[i], largest = 0;
      for (size_t j = 0; j < k; ++j) {
        sum = rounded_to(sum + row[j] * x[r].value[j], format);
        largest = std::max(largest, std::abs(sum));
      }
      expected.value[r * n + i] = sum * problem.scale;
      // A product that was rounded first may turn a few of the roundings.
      expected.bound[r * n + i] += 8 * bounds::unit_roundoff(format) * largest * std::abs(problem.scale);
    }
  }
  return expected;
}

/// The right product and `factor` times the bias.
Candidate more_bias(double factor, Text title) {
  return by_outputs(changed_afterwards(
      [factor](const StageProblem& p, const Values&, Expected& expected) {
        std::vector<double> bias(p.bias->dims[0]);
        decode_row(*p.bias, 0, bias);
        for (size_t i = 0; i < expected.value.size(); ++i) {
          const double change = factor * bias[i % bias.size()];
          expected.value[i] += change;
          expected.bound[i] += 2 * bounds::kU * (std::abs(change) + std::abs(expected.value[i]));
        }
      },
      std::move(title)));
}

std::vector<Candidate> wrong_bias(const Suspect& s) {
  const Tensor* own = bias_of(s.model(), {s.at.stage, s.at.layer});
  if (s.kind() != StageKind::projection || own == nullptr) return {};
  std::vector<Candidate> candidates{
      more_bias(-1, {fmt::format("the bias of {} is not added", s.name()),
                     fmt::format("no se suma el sesgo de {}", s.name())}),
      more_bias(1, {fmt::format("the bias of {} is added twice", s.name()),
                    fmt::format("el sesgo de {} se suma dos veces", s.name())})};
  for (int other = 0; other < s.config().n_layer; ++other) {
    const Tensor* bias = bias_of(s.model(), {s.at.stage, other});
    if (other == s.at.layer || bias == nullptr || bias->dims != own->dims) continue;
    candidates.push_back({[bias](const Observation&, StageProblem& problem) {
                            problem.bias = bias;
                            return true;
                          },
                          {fmt::format("the bias of {} is layer {}'s", s.name(), other),
                           fmt::format("el sesgo de {} es el de la capa {}", s.name(), other)}});
  }
  return candidates;
}

std::vector<Candidate> narrow_accumulator(const Suspect& s) {
  if (s.kind() != StageKind::projection) return {};
  std::vector<Candidate> candidates;
  for (const Format format : {Format::f16, Format::bf16}) {
    candidates.push_back(by_outputs(computed_by(
        [format](const StageProblem& p, const Values& values) { return narrow_sum(p, values, format); },
        {fmt::format("the sum is accumulated in {}", name(format)),
         fmt::format("la suma se acumula en {}", name(format))})));
  }
  return candidates;
}

/// Every value rounded once more; where the exact value lies on a border, either neighbour will do.
void narrow_output(Expected& expected, const Narrowing& narrowing) {
  for (size_t i = 0; i < expected.value.size(); ++i) {
    const double value = expected.value[i], bound = expected.bound[i];
    expected.value[i] = narrowing.of(value);
    expected.bound[i] += std::abs(narrowing.of(value + bound) - narrowing.of(value - bound));
  }
}

Candidate output_in(const Narrowing& narrowing) {
  return by_outputs(computed_by(
      [narrowing](const StageProblem& p, const Values& values) {
        StageProblem exact = p;
        // What a cache holds is narrowed once, one way or the other.
        if (p.kind == StageKind::cache && p.cache_format == narrowing.format)
          exact.cache_format = Format::f32;
        Expected expected = right_of(exact, values);
        narrow_output(expected, narrowing);
        return expected;
      },
      {fmt::format("the output is {}, which the kernel does not declare", narrowing.en()),
       fmt::format("la salida se {}, lo que el kernel no declara", narrowing.es())}));
}

/// Rounded once more before what the kernel declares.
Candidate input_in(Format format) {
  return by_outputs(
      {.change =
           [format](const Observation&, StageProblem& problem) {
             problem.how = [format](const StageProblem& p, const Values& values) {
               std::vector<float> rounded(values[0].begin(), values[0].end());
               for (float& x : rounded) x = static_cast<float>(rounded_to(static_cast<double>(x), format));
               Values others = values;
               others[0] = std::move(rounded);
               return right_of(p, others);
             };
             return problem.declared.roundings.activation != Format::f32;
           },
       .title = {fmt::format("the input is rounded to {} before the kernel's own rounding", name(format)),
                 fmt::format("la entrada se redondea a {} antes del redondeo del kernel", name(format))}});
}

/// An operand of a stage without roundings of its own.
Candidate operand_in(const Narrowing& narrowing, size_t at, const Suspect& s) {
  const std::string_view operand = name(operands_at(s.config(), s.at)[at].stage);
  return computed_by(
      [narrowing, at](const StageProblem& p, const Values& values) {
        Values others = values;
        if (at < values.size()) {
          std::vector<float> narrow(values[at].begin(), values[at].end());
          for (float& x : narrow) x = static_cast<float>(narrowing.of(static_cast<double>(x)));
          others[at] = std::move(narrow);
        }
        return right_of(p, others);
      },
      {fmt::format("{} is {} before {} is made of it", operand, narrowing.en(), s.name()),
       fmt::format("{} se {} antes de calcular {}", operand, narrowing.es(), s.name())});
}

std::vector<Candidate> undeclared_rounding(const Suspect& s) {
  std::vector<Candidate> candidates = operand_rounded(s);
  for (const Narrowing& narrowing : kNarrowings) candidates.push_back(output_in(narrowing));
  if (s.kind() != StageKind::projection) {
    for (const Narrowing& narrowing : kNarrowings) {
      for (size_t at = 0; at < operands_at(s.config(), s.at).size(); ++at)
        candidates.push_back(operand_in(narrowing, at, s));
    }
    return candidates;
  }
  for (const Format format : {Format::f32, Format::f16, Format::bf16, Format::q8_block32}) {
    candidates.push_back(
        {[format](const Observation&, StageProblem& problem) {
           if (problem.declared.roundings.activation == format) return false;
           problem.declared.roundings.activation = format;
           return true;
         },
         {fmt::format("activations are in {}, not in what the kernel declares", name(format)),
          fmt::format("las activaciones están en {}, no en lo que el kernel declara", name(format))}});
  }
  for (const Format format : {Format::f16, Format::bf16}) candidates.push_back(input_in(format));
  for (Candidate& candidate : rounded_in_blocks(s)) candidates.push_back(std::move(candidate));
  return candidates;
}

const std::array<Hypothesis, 6> kSum{{
    {"reduction_truncated",
     {"the sum leaves parts of K out, or counts them twice; which ones is estimated",
      "la suma omite partes de K o las cuenta dos veces; se estima cuáles"},
     "https://github.com/vllm-project/vllm/pull/40827",
     truncated},
    {"block_sums",
     {"minima and zero points are multiplied by sums of other activations than their block's",
      "los mínimos y puntos cero se multiplican por sumas de otras activaciones que las de su bloque"},
     "made up: no public report in the catalogue",
     misread_sums},
    {"weight_element",
     {"one element of a weight is wrong; which, and by how much, is estimated",
      "un elemento de un peso es incorrecto; se estima cuál y en cuánto"},
     "https://github.com/ROCm/ATOM/issues/702",
     weight_element},
    {"wrong_bias",
     {"a projection's bias is not added, or added twice, or another layer's",
      "el sesgo de una proyección no se suma, o se suma dos veces, o es de otra capa"},
     "https://github.com/paiml/aprender/issues/2769",
     wrong_bias},
    {"narrow_accumulator",
     {"the sum is accumulated in f16 or bf16", "la suma se acumula en f16 o bf16"},
     "https://github.com/vllm-project/vllm/pull/38914",
     narrow_accumulator,
     true},
    {"undeclared_rounding",
     {"activations or the output are rounded to a format that nobody declared",
      "las activaciones o la salida se redondean a un formato que nadie declara"},
     "https://github.com/vllm-project/vllm/issues/54035",
     undeclared_rounding,
     true},
}};

}  // namespace

std::span<const Hypothesis> sum_hypotheses() { return kSum; }

}  // namespace greta
