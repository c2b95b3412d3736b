#pragma once
// What kernels of every device see of memory: rows, a cache, and an op's numbers. Plain data.

#include <cstddef>
#include <cstdint>

#include "base/compiler.h"
#include "base/rounding.h"

namespace greta {

/// Rows of a buffer. `stride` is in bytes, from row to row.
struct View {
  std::byte* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;
  Format format = Format::f32;

  template <class T = float>
  GRETA_INLINE T* row(int64_t r) const {
    return reinterpret_cast<T*>(raw_row(r));
  }
  GRETA_INLINE std::byte* raw_row(int64_t r) const { return data + r * stride; }

  bool operator==(const View&) const = default;
};

/// One layer's keys and values. Element (position p, kv head h, dim d):
///   key   at ((h * (capacity / 16) + p / 16) * head_dim + d) * 16 + p % 16   (lanes are positions)
///   value at (h * capacity + p) * head_dim + d                               (lanes are dims)
/// capacity is a multiple of 16. Slots that were never written hold NaN: attention must not let them pass.
///
/// q8_0 (head_dim is a multiple of 32) cuts these elements into runs of 32 dims of each lane: 512 elements of
/// keys (16 positions), 32 of values. A run is its f16 scales d, one per lane, then its int8 codes in the
/// order above; the element is d * code, exact in f32.
/// What is not finite has a scale that is not: the block is NaN.
struct KvView {
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  Format format = Format::f32;  // f32, f16 (round to nearest even on write) or q8_0
  int64_t capacity = 0;
  int64_t n_head_kv = 0;
  int64_t head_dim = 0;

  bool operator==(const KvView&) const = default;
};

/// Where the code and the scale of an element of a q8_0 cache are, in bytes;
/// `lanes`: 16 of keys, 1 of values.
GRETA_INLINE constexpr int64_t q8_code_at(int64_t element, int64_t lanes) {
  return element / (32 * lanes) * (34 * lanes) + 2 * lanes + element % (32 * lanes);
}
GRETA_INLINE constexpr int64_t q8_scale_at(int64_t element, int64_t lanes) {
  return element / (32 * lanes) * (34 * lanes) + element % lanes * 2;
}

struct OpParams {
  float eps = 0;
  float scale = 1;  // of qk, embed, matmul, rope_table; of in1 in add
  float cap = 0;    // of qk, attention, matmul: outputs x become cap * tanh(x / cap); 0: they don't
  int64_t n_head = 0;
  int64_t head_dim = 0;
  int64_t rope_dims = 0;              // dims of a head that are rotated, even
  int64_t rope_first = 0;             // the first of them
  bool rope_adjacent = true;          // pairs (2i, 2i + 1), else (i, i + rope_dims / 2)
  const float* rope_turns = nullptr;  // [rope_dims / 2][2]: high and low part of frequency / (2 pi), in turns
  int64_t window = 0;                 // positions that a query sees, its own included; 0: all before it
  int64_t experts = 0;                // of expert_matmul: how many matrices there are
  bool sum_to_1 = false;              // of expert_weights: a row's are divided by their sum
  bool are_probabilities = false;     // of expert_weights: the scores are, and no softmax is taken
  // Of choose_experts: the best groups alone, each as good as the sum of its `group_best` highest; 1: all.
  int64_t groups = 1, groups_used = 1, group_best = 1;

  bool operator==(const OpParams&) const = default;
};

}  // namespace greta
