#pragma once
// What two bundles of the same computation have in common: plain data, from which its reports are made.

#include <string>
#include <vector>

#include "verdict/verdict.h"

namespace greta {

struct BundleComparison {
  RunStatus status = RunStatus::inconclusive;
  std::vector<StagePair> pairs;  // `phase` is the one compared; `prefill` fields are A's, `decode` fields B's
  std::vector<std::string> only_a;  // cells and phases that one of the two lacks
  std::vector<std::string> only_b;
  Coverage coverage;
};

}  // namespace greta
