#include "judge/hypotheses/block_sums.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "judge/hypotheses/misread_weights.h"
#include "judge/hypotheses/sum_parts.h"
#include "numerics/activation.h"
#include "numerics/dequant.h"

namespace greta {
namespace {

/// The sums of an activation row's groups: of a block, or of half a one where a weight's scales are of those.
struct GroupSums {
  size_t group = 32;
  std::vector<double> value;  // of the row, as the kernel multiplies it
  std::vector<double> sum, error;

  size_t last() const { return sum.size() - 1; }
  /// The first group of g's part, where threads share a row in so many.
  size_t first(size_t g, size_t parts) const {
    size_t part = 0;
    while ((part + 1) * sum.size() / parts <= g) ++part;
    return part * sum.size() / parts;
  }
  /// Of the group's elements [from, to).
  double part(size_t g, size_t from, size_t to) const {
    const auto begin = value.begin() + static_cast<std::ptrdiff_t>(g * group);
    return std::accumulate(begin + static_cast<std::ptrdiff_t>(from), begin + static_cast<std::ptrdiff_t>(to),
                           0.0);
  }
  /// Of the last element of each 16.
  double lasts(size_t g) const {
    double sum_of = 0;
    for (size_t i = 15; i < group; i += 16) sum_of += part(g, i, i + 1);
    return sum_of;
  }
};

struct SumReading {
  const char *en, *es;  // {}: the weight's name
  double (*read)(const GroupSums& sums, size_t g, size_t parts);
  size_t most_parts = 1;  // of a row that it may hold in, each by itself
};

constexpr SumReading kSumReadings[] = {
    {"{}'s minima are all multiplied by the sum of the first block of activations",
     "los mínimos de {} se multiplican todos por la suma del primer bloque de activaciones",
     [](const GroupSums& s, size_t g, size_t parts) { return s.sum[s.first(g, parts)]; }, 16},
    {"{}'s minima are multiplied by the sum of the first of each 8 blocks of activations",
     "los mínimos de {} se multiplican por la suma del primero de cada 8 bloques de activaciones",
     [](const GroupSums& s, size_t g, size_t) { return s.sum[g - g % (256 / s.group)]; }},
    {"{}'s minima are multiplied by the sum of the block of activations before",
     "los mínimos de {} se multiplican por la suma del bloque de activaciones anterior",
     [](const GroupSums& s, size_t g, size_t) { return s.sum[g == 0 ? 0 : g - 1]; }},
    {"{}'s minima are multiplied by the sum of the next block of activations",
     "los mínimos de {} se multiplican por la suma del bloque de activaciones siguiente",
     [](const GroupSums& s, size_t g, size_t) { return s.sum[std::min(g + 1, s.last())]; }},
    {"{}'s minima are multiplied by sums that leave out the last of each 16 activations",
     "los mínimos de {} se multiplican por sumas que omiten la última de cada 16 activaciones",
     [](const GroupSums& s, size_t g, size_t) { return s.sum[g] - s.lasts(g); }},
    {"{}'s minima are multiplied by sums that leave out the last activation of a block",
     "los mínimos de {} se multiplican por sumas que omiten la última activación del bloque",
     [](const GroupSums& s, size_t g, size_t) { return s.sum[g] - s.part(g, s.group - 1, s.group); }},
    {"{}'s minima are multiplied by the sum of the first half of a block of activations",
     "los mínimos de {} se multiplican por la suma de la primera mitad del bloque de activaciones",
     [](const GroupSums& s, size_t g, size_t) { return s.part(g, 0, s.group / 2); }},
    {"{}'s minima are multiplied by the sum of the second half of a block of activations",
     "los mínimos de {} se multiplican por la suma de la segunda mitad del bloque de activaciones",
     [](const GroupSums& s, size_t g, size_t) { return s.part(g, s.group / 2, s.group); }},
};

size_t summed_group(const Tensor& weight) { return weight.type == TensorType::q6_k ? 16 : 32; }

GroupSums sums_of(std::span<const float> x, Format activation, size_t group) {
  ActivationRow row = round_activations(x, activation);
  GroupSums sums{group, std::move(row.value), {}, {}};
  for (size_t g = 0; g < x.size() / group; ++g) sums.sum.push_back(sums.part(g, 0, group));
  sums.error.resize(sums.sum.size());
  if (!row.sums.empty() && group == static_cast<size_t>(kActivationBlock))
    sums.sum = std::move(row.sums), sums.error = std::move(row.sum_errors);
  return sums;
}

/// What each group's sum is multiplied by, for an output.
std::vector<double> offsets_of(const Tensor& weight, int64_t output, size_t group) {
  std::vector<double> offsets;
  for (const WeightBlock& block : blocks_of(weight, output)) {
    for (size_t half = 0; half < 32 / group; ++half)
      offsets.push_back(block.m * block.min - block.d * block.zero_scale[half] * block.offset);
  }
  return offsets;
}

struct Change {
  double value = 0, size = 0;  // of its terms
};

/// A row of the table, in so many parts of a row of activations.
struct ReadInParts {
  const SumReading* reading;
  size_t parts;

  double of(const GroupSums& sums, size_t g) const { return reading->read(sums, g, parts); }
  Text title(const std::string& label) const {
    const auto text = [&](const char* form, const char* of_parts) {
      return fmt::format(fmt::runtime(form), label) +
             (parts > 1 ? fmt::format(fmt::runtime(of_parts), parts) : "");
    };
    return {text(reading->en, ", in each of {} parts of a row"),
            text(reading->es, ", en cada una de {} partes de la fila")};
  }
};

Change change_of(const ReadInParts& reading, const std::vector<double>& offsets, const GroupSums& sums) {
  const double most = sums.error.empty() ? 0 : std::ranges::max(sums.error);
  Change change;
  for (size_t g = 0; g < offsets.size(); ++g) {
    const double read = reading.of(sums, g);
    change.value += offsets[g] * (read - sums.sum[g]);
    change.size += std::abs(offsets[g]) * (bounds::kU * (std::abs(read) + std::abs(sums.sum[g])) + most);
  }
  return change;
}

Candidate by_sums(const ReadInParts& reading, Text title) {
  return by_outputs(changed_afterwards(
      [reading](const StageProblem& p, const Values& values, Expected& expected) {
        const size_t k = p.weight->dims[0], n = static_cast<size_t>(row_count(*p.weight));
        const size_t group = summed_group(*p.weight);
        std::vector<GroupSums> rows;
        for (size_t r = 0; r < p.positions.size(); ++r)
          rows.push_back(
              sums_of(std::span(values[0]).subspan(r * k, k), p.declared.roundings.activation, group));
        for (size_t i = 0; i < n; ++i) {
          const std::vector<double> offsets = offsets_of(*p.weight, static_cast<int64_t>(i), group);
          for (size_t r = 0; r < rows.size(); ++r) {
            const Change change = change_of(reading, offsets, rows[r]);
            expected.value[r * n + i] += change.value * p.scale;
            expected.bound[r * n + i] += 4 * change.size * std::abs(p.scale);
          }
        }
      },
      std::move(title)));
}

/// How much of the errors of some outputs the reading makes: 1 - |what is left| / |error|.
double explained_by_sums(const ReadInParts& reading, const Suspect& s, const OutputSample& sample,
                         std::span<const GroupSums> rows) {
  const StageProblem& problem = *s.evidence.observations.front().problem;
  double left = 0, square = 0;
  for (size_t i = 0; i < sample.outputs.size(); ++i) {
    const std::vector<double> offsets =
        offsets_of(*problem.weight, sample.outputs[i], summed_group(*problem.weight));
    for (size_t r = 0; r < rows.size(); ++r) {
      const double error = sample.error[i][r];
      const double off = error - change_of(reading, offsets, rows[r]).value * problem.scale;
      left += off * off;
      square += error * error;
    }
  }
  return square > 0 ? 1 - std::sqrt(left / square) : 0;
}

}  // namespace

std::vector<Candidate> misread_sums(const Suspect& s) {
  constexpr size_t kOutputs = 96;
  constexpr double kLike = 0.5;  // less is not worth the whole matrix
  const Tensor* weight = s.weight();
  if (weight == nullptr || !has_fields(weight->type) || weight->type == TensorType::q8_0) return {};
  const std::optional<OutputSample> sample = sample_of(s, kOutputs);
  if (!sample) return {};
  const Observation& seen = s.evidence.observations.front();
  const SharedRows& x = seen.problem->operands.front().values;
  const size_t k = weight->dims[0];
  std::vector<GroupSums> rows;
  for (int64_t row = 0; row < seen.rows; ++row) {
    if (!seen.is_affected(row)) continue;
    rows.push_back(sums_of(std::span(x).subspan(static_cast<size_t>(row) * k, k),
                           seen.problem->declared.roundings.activation, summed_group(*weight)));
  }
  std::vector<Candidate> candidates;
  const std::string label = weight_label(s.at.stage);
  for (const SumReading& row : kSumReadings) {
    for (size_t parts = 1; parts <= std::min(row.most_parts, rows.front().sum.size() / 2); ++parts) {
      const ReadInParts reading{&row, parts};
      if (explained_by_sums(reading, s, *sample, rows) < kLike) continue;
      candidates.push_back(by_sums(reading, reading.title(label)));
    }
  }
  return candidates;
}

}  // namespace greta
