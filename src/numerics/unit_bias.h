#pragma once
// Whether all outputs of a matrix unit together err as its rule says. Truncating and flooring have a mean
// that shows over thousands of outputs long before one of them leaves its bound.

#include <cstdint>
#include <span>
#include <vector>

#include "numerics/oracle.h"

namespace greta {

struct UnitBias {
  double gain = 1;    // of the observed mean error on the expected one: 1 is right, 0 has no bias
  double spread = 1;  // mean squared error about the expected one, in its variances
  // How far the worse of the two is off, in units of what is allowed; above 1: another rule.
  double ratio = 0;
};

/// The mean square of one output's error about `expected.value`, which must be of a unit.
double likely_square(const Expected& expected, size_t i);

/// Over the rows of `observed` [rows, width] for which `counts` (equal input rows repeat their errors, so
/// each counts once). Elements that are not finite are left out. ratio is 0 where `expected` has no drift.
UnitBias unit_bias(std::span<const float> observed, const Expected& expected,
                   const std::vector<char>& counts);

}  // namespace greta
