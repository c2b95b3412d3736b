#pragma once
// Two bundles of the same computation: another machine, build, route or engine.

#include "judge/pair_judge.h"
#include "verdict/comparison.h"

namespace greta {

/// Compares every (cell, phase) that both hold. Differences of equal inputs are judged by the oracle when
/// `model` is given; without it they stay unjudged and the result is INCONCLUSIVE. A bundle of one experiment
/// is compared with another of one experiment whatever the two are called. `step` hears of the
/// runs.
BundleComparison compare_bundles(const Bundle& a, const Bundle& b, const Model* model, int threads = 1,
                                 const Step& step = {});

}  // namespace greta
