#pragma once
// Parts of a sum over K that are wrong while the others are right: found by least squares of what an output
// lacks on what each part would contribute.

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "judge/hypotheses/hypothesis.h"
#include "judge/hypotheses/misread_weights.h"

namespace greta {

/// A partition of K: element k belongs to part of(k). Lanes are runs of 1.
struct Partition {
  int64_t parts, run;
  int64_t of(int64_t k) const { return k / run % parts; }
};

/// Runs of 16, or more where K is long (at most 128 keep the system small), lanes, and the places of 16 in
/// each 256: of blocks in theirs.
std::vector<Partition> partitions_of(int64_t k);

/// How often each part's contribution, to the outputs of the first recording's wrong rows, is in their
/// errors; empty when that can't be told. `contribution`: of each element of K, a row of weights.
std::vector<double> part_weights(const Suspect& s, const Partition& partition, const RowReader& contribution);

/// "k = 512-575 of 576", "lane 3 of 4 in k", "k = 32-63 of every 256".
std::string parts_text(const Partition& partition, const std::set<int64_t>& parts, int64_t k,
                       Language language);

/// Errors of some outputs, spread over all, in the wrong rows of the first recording, and what these are made
/// from.
struct OutputSample {
  std::vector<int64_t> outputs;
  std::vector<std::vector<double>> x;      // of each row [k], as the kernel reads it, scaled as its output is
  std::vector<std::vector<double>> error;  // of each output, of each row
};

/// nullopt where the rows were not recorded, or are not finite.
std::optional<OutputSample> sample_of(const Suspect& s, size_t most);

}  // namespace greta
