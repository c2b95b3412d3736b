#pragma once
// Keys and values of all layers. Slots that hold no position are NaN: whatever reads them shows.

#include <span>
#include <vector>

#include "base/aligned.h"
#include "kernels/kernel.h"
#include "model/model.h"

namespace greta {

class KvCache {
 public:
  /// Room for `positions` (rounded up to 16); `format` is f32 or f16.
  KvCache(const ModelConfig& config, int64_t positions, Format format);

  int64_t capacity() const { return capacity_; }
  int64_t length() const { return length_; }
  Format format() const { return format_; }
  void set_length(int64_t length) { length_ = length; }
  /// Forgets the positions from `length` on, and poisons their slots.
  void truncate(int64_t length);
  /// Fills the slots that hold no position with `value` in the place of NaN (rounded to the cache's format):
  /// what nobody reads may be anything.
  void fill_unused(float value);

  KvView layer(int64_t index) const;

 private:
  void fill(KvView view, int64_t from, int64_t to, float value) const;

  int64_t n_layer_, n_head_kv_, head_dim_, capacity_, length_ = 0;
  Format format_;
  std::vector<AlignedBytes> keys_, values_;
};

/// Positions [0, n_pos) of a layer's cache as f32 rows [n_pos, 2 * n_head_kv * head_dim]: a position's key,
/// then its value.
std::vector<float> read_cache(const KvView& cache, int64_t n_pos);

/// The other way: `row` [2 * n_head_kv * head_dim] becomes a position's key and value, rounded to the cache's
/// format.
void write_cache_row(const KvView& cache, int64_t position, std::span<const float> row);

}  // namespace greta
