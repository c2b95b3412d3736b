#include "judge/hypotheses/block_products.h"

#include <fmt/format.h>

#include <cmath>

#include "judge/hypotheses/misread_weights.h"
#include "judge/hypotheses/rounding.h"
#include "numerics/activation.h"
#include "numerics/dequant.h"

namespace greta {
namespace {

constexpr size_t kLanes = 32;  // of a block

enum class What { scales, scales_and_minima, sums };

/// One output of one row.
double sum_of_blocks(const WeightBlocks& weight, const ActivationRow& x, double bias, What what,
                     const Narrowing& narrowing) {
  double sum = bias;
  for (size_t b = 0; b < weight.size(); ++b) {
    const WeightBlock& block = weight[b];
    double codes = 0, plain = 0;
    for (size_t i = 0; i < kLanes; ++i) {
      codes += (block.code[i] - block.offset) * x.codes[b * kLanes + i];
      plain += x.codes[b * kLanes + i];
    }
    const double scale = block.d * x.scales[b], minimum = block.m * block.min * x.scales[b];
    sum += (what == What::sums ? scale : narrowing.of(scale)) * codes +
           (what == What::scales_and_minima ? narrowing.of(minimum) : minimum) * plain;
    if (what == What::sums) sum = narrowing.of(sum);
  }
  return sum;
}

Expected by_blocks(const StageProblem& p, const Values& values, What what, const Narrowing& narrowing) {
  Expected expected = right_of(p, values);
  const size_t k = static_cast<size_t>(p.weight->dims[0]), n = static_cast<size_t>(row_count(*p.weight));
  std::vector<double> bias(n);
  if (p.bias != nullptr) decode_row(*p.bias, 0, bias);
  std::vector<ActivationRow> rows;
  for (size_t r = 0; r < p.positions.size(); ++r)
    rows.push_back(
        round_activations(std::span(values[0]).subspan(r * k, k), p.declared.roundings.activation));
  for (size_t i = 0; i < n; ++i) {
    const WeightBlocks weight = blocks_of(*p.weight, static_cast<int64_t>(i));
    for (size_t r = 0; r < rows.size(); ++r) {
      if (rows[r].codes.size() != k || rows[r].scales.size() != weight.size()) return {};
      const double sum = sum_of_blocks(weight, rows[r], bias[i], what, narrowing) * p.scale;
      expected.value[r * n + i] = sum;
      // A sum that is rounded in f32 before may turn a few of the roundings.
      if (what == What::sums)
        expected.bound[r * n + i] += 4 * bounds::unit_roundoff(narrowing.format) * std::abs(sum);
    }
  }
  return expected;
}

}  // namespace

std::vector<Candidate> rounded_in_blocks(const Suspect& s) {
  const Tensor* weight = s.weight();
  if (s.kind() != StageKind::projection || weight == nullptr || !has_fields(weight->type) ||
      has_small_scales(weight->type))
    return {};
  struct Row {
    What what;
    const char *en, *es;
  };
  static constexpr Row kRows[] = {
      {What::scales, "the product of each block's two scales",
       "el producto de las dos escalas de cada bloque"},
      {What::scales_and_minima, "each product of a block's scale or minimum with the activations' scale",
       "cada producto de la escala o del mínimo de un bloque por la escala de las activaciones"},
      {What::sums, "the sum after each block", "la suma tras cada bloque"}};
  std::vector<Candidate> candidates;
  for (const Row& row : kRows) {
    if (row.what == What::scales_and_minima && !has_minima(weight->type)) continue;
    for (const Narrowing& narrowing : kNarrowings) {
      candidates.push_back(by_outputs(computed_by(
          [what = row.what, narrowing](const StageProblem& p, const Values& values) {
            return by_blocks(p, values, what, narrowing);
          },
          {fmt::format("{} is {}, which the kernel does not declare", row.en, narrowing.en()),
           fmt::format("{} se {}, lo que el kernel no declara", row.es, narrowing.es())})));
      candidates.back().change = [change = candidates.back().change](const Observation& seen,
                                                                     StageProblem& problem) {
        return is_block(problem.declared.roundings.activation) && change(seen, problem);
      };
    }
  }
  return candidates;
}

}  // namespace greta
