#include "judge/hypotheses/sum_parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "judge/hypotheses/least_squares.h"
#include "judge/residual_pattern.h"
#include "numerics/activation.h"
#include "numerics/dequant.h"

namespace greta {
std::vector<Partition> partitions_of(int64_t k) {
  std::vector<Partition> partitions;
  if (k % 16 == 0 && k > 16) {
    const int64_t run = 16 * std::max<int64_t>(1, (k / 16 + 127) / 128);
    partitions.push_back({(k + run - 1) / run, run});
  }
  for (const int64_t lanes : {4, 8, 16, 32, 64, 128}) {
    if (k % lanes == 0 && lanes < k) partitions.push_back({lanes, 1});
  }
  if (k % kSuperBlock == 0 && k > kSuperBlock) partitions.push_back({kSuperBlock / 16, 16});
  return partitions;
}

std::optional<OutputSample> sample_of(const Suspect& s, size_t most) {
  if (!s.direct || s.kind() != StageKind::projection) return std::nullopt;
  const Observation& seen = s.evidence.observations.front();
  const SharedRows& x = seen.problem->operands.front().values;
  if (x.empty()) return std::nullopt;
  const size_t k = static_cast<size_t>(seen.problem->weight->dims[0]);
  OutputSample sample;
  std::vector<int64_t> rows, all;
  for (int64_t row = 0; row < seen.rows; ++row) {
    if (!seen.is_affected(row)) continue;
    rows.push_back(row);
    sample.x.push_back(round_activations(std::span(x).subspan(static_cast<size_t>(row) * k, k),
                                         seen.problem->declared.roundings.activation)
                           .value);
    for (double& value : sample.x.back()) value *= seen.problem->scale;
  }
  for (int64_t i = 0; i < seen.width; ++i) {
    if (!rows.empty() && seen.in_affected(static_cast<size_t>(rows.front() * seen.width + i)))
      all.push_back(i);
  }
  const size_t count = std::min(most, all.size());
  for (size_t j = 0; j < count; ++j) {
    sample.outputs.push_back(all[j * all.size() / count]);
    sample.error.emplace_back();
    for (const int64_t row : rows) {
      const size_t at = static_cast<size_t>(row * seen.width + sample.outputs.back());
      sample.error.back().push_back(static_cast<double>(seen.observed[at]) - seen.right.value[at]);
      if (!std::isfinite(sample.error.back().back())) return std::nullopt;
    }
  }
  return count == 0 ? std::nullopt : std::optional(std::move(sample));
}

std::vector<double> part_weights(const Suspect& s, const Partition& partition,
                                 const RowReader& contribution) {
  constexpr size_t kOutputs = 512;
  const std::optional<OutputSample> sample = sample_of(s, kOutputs);
  const size_t parts = static_cast<size_t>(partition.parts);
  if (!sample || sample->outputs.size() * sample->x.size() < parts) return {};
  const Tensor& weight = *s.evidence.observations.front().problem->weight;
  std::vector<double> square(parts * parts), both(parts), share(parts), row(weight.dims[0]);
  for (size_t i = 0; i < sample->outputs.size(); ++i) {
    contribution(weight, sample->outputs[i], row.data());
    for (size_t r = 0; r < sample->x.size(); ++r) {
      std::fill(share.begin(), share.end(), 0.0);
      for (size_t j = 0; j < row.size(); ++j)
        share[static_cast<size_t>(partition.of(static_cast<int64_t>(j)))] += row[j] * sample->x[r][j];
      for (size_t a = 0; a < parts; ++a) {
        both[a] += share[a] * sample->error[i][r];
        for (size_t b = a; b < parts; ++b) square[a * parts + b] += share[a] * share[b];
      }
    }
  }
  for (size_t a = 0; a < parts; ++a) {
    for (size_t b = 0; b < a; ++b) square[a * parts + b] = square[b * parts + a];
  }
  return solve_least_squares(square, both) ? both : std::vector<double>{};
}

std::string parts_text(const Partition& partition, const std::set<int64_t>& parts, int64_t k,
                       Language language) {
  const bool spanish = language == Language::spanish;
  if (partition.run == 1) {
    const char* text = spanish ? "carril {} de {} en k" : "lane {} of {} in k";
    return fmt::format(fmt::runtime(text), index_pattern(parts, language), partition.parts);
  }
  const int64_t period = std::min(k, partition.parts * partition.run);
  std::set<int64_t> elements;
  for (const int64_t part : parts) {
    for (int64_t j = part * partition.run; j < std::min(period, (part + 1) * partition.run); ++j)
      elements.insert(j);
  }
  const char* text = period < k ? (spanish ? "k = {} de cada {}" : "k = {} of every {}")
                                : (spanish ? "k = {} de {}" : "k = {} of {}");
  return fmt::format(fmt::runtime(text), index_pattern(elements, language), period);
}

}  // namespace greta
