#pragma once
// Normal equations.

#include <cstddef>
#include <vector>

namespace greta {

/// Solves a x = b in place of b (a is [n, n], positive; it is spoilt); false when it is singular.
inline bool solve_least_squares(std::vector<double>& a, std::vector<double>& b) {
  const size_t n = b.size();
  for (size_t i = 0; i < n; ++i) {
    if (!(a[i * n + i] > 1e-30)) return false;
    for (size_t r = i + 1; r < n; ++r) {
      const double factor = a[r * n + i] / a[i * n + i];
      if (factor == 0) continue;
      for (size_t c = i; c < n; ++c) a[r * n + c] -= factor * a[i * n + c];
      b[r] -= factor * b[i];
    }
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t c = i + 1; c < n; ++c) b[i] -= a[i * n + c] * b[c];
    b[i] /= a[i * n + i];
  }
  return true;
}

}  // namespace greta
