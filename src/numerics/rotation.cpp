#include "numerics/rotation.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "numerics/bounds.h"

namespace greta {
namespace {

/// A sum in the making, and the squared partial sums that it took.
struct Node {
  double sum = 0, energy = 0;
};

Node added(const Node& a, const Node& b, double sign) {
  const double sum = a.sum + sign * b.sum;
  return {sum, a.energy + b.energy + sum * sum};
}

/// In place, in stages of sums and differences.
void transform(std::span<Node> block) {
  for (size_t half = 1; half < block.size(); half *= 2) {
    for (size_t i = 0; i < block.size(); ++i) {
      if ((i & half) != 0) continue;
      const Node a = block[i], b = block[i + half];
      block[i] = added(a, b, 1);
      block[i + half] = added(a, b, -1);
    }
  }
}

}  // namespace

Rotated rotate(std::span<const float> x, int64_t size) {
  const auto width = static_cast<size_t>(std::max<int64_t>(size, 1));
  if (!std::has_single_bit(width) || x.size() % width != 0)
    fail_input("a rotation of {} does not fit {} values: a power of two that divides them would", size,
               x.size());
  Rotated rotated;
  const double n = static_cast<double>(width), factor = 1 / std::sqrt(n);
  std::vector<Node> block(width);
  for (size_t begin = 0; begin < x.size(); begin += width) {
    double squares = 0;
    for (size_t i = 0; i < width; ++i) {
      block[i] = {x[begin + i], 0};
      squares += block[i].sum * block[i].sum;
    }
    transform(block);
    for (const Node& node : block) {
      const double any_order = bounds::any_order_energy(node.sum, squares, n);
      const double energy = std::max(node.energy, any_order) + squares;  // an f32 factor, its product
      const double value = node.sum * factor;
      rotated.value.push_back(static_cast<float>(value));
      rotated.error.push_back(bounds::accumulated(energy, 2 * n, bounds::kU) * factor +
                              3 * bounds::kU * std::abs(value));
    }
  }
  return rotated;
}

}  // namespace greta
