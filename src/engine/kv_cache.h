#pragma once
// Keys and values of all layers. Slots that hold no position are NaN: whatever reads them shows.

#include <span>
#include <vector>

#include "engine/device_store.h"
#include "kernels/kernel.h"
#include "model/model.h"

namespace greta {

class KvCache {
 public:
  /// Room for `positions` (rounded up to 16); `format` is f32, f16 or q8_0. Throws an input Error where the
  /// model's heads are no whole blocks of q8_0.
  /// With a device, kernels there and the host share it: each sees what the other has written.
  KvCache(const ModelConfig& config, int64_t positions, Format format, gpu::Device* device = nullptr);

  /// Whether the model's heads are whole blocks of the format.
  static bool can_hold(const ModelConfig& config, Format format);

  int64_t layers() const { return n_layer_; }
  int64_t capacity() const { return capacity_; }
  int64_t length() const { return length_; }
  Format format() const { return format_; }
  void set_length(int64_t length) { length_ = length; }
  /// Forgets the positions from `length` on, and poisons their slots.
  void truncate(int64_t length);
  /// Fills the slots that hold no position with `value` in the place of NaN (rounded to the cache's format):
  /// what nobody reads may be anything.
  void fill_unused(float value);
  /// The same with copies of what `position` holds, as plausible as any other row.
  void fill_unused_like(int64_t position);

  /// A layer in the host's memory. Whoever only reads may say so: what is on a device stays fresh there.
  KvView layer(int64_t index, bool writes = true) const;
  /// The same in the device's memory.
  KvView device_layer(int64_t index, bool writes) const;

 private:
  template <class Data>
  KvView view(int64_t index, const Data& data) const;

  void poison();
  void fill(KvView view, int64_t from, int64_t to, float value) const;

  int64_t n_layer_, n_head_kv_, head_dim_, capacity_, length_ = 0;
  Format format_;
  // A view is how kernels write; the cache itself stays the owner.
  mutable std::vector<Mirror> keys_, values_;
};

/// A layer's cache as it was when this was made.
class CacheCopy {
 public:
  explicit CacheCopy(const KvView& cache);
  const KvView& view() const { return view_; }

 private:
  AlignedBytes keys_, values_;
  KvView view_;
};

/// Bytes of `elements` keys (or values) of whole heads.
int64_t cache_bytes(Format format, int64_t elements);

float cached_key(const KvView& cache, int64_t position, int64_t head, int64_t dim);
float cached_value(const KvView& cache, int64_t position, int64_t head, int64_t dim);

/// A position's key, then its value, as f32 [2 * n_head_kv * head_dim].
std::vector<float> read_cache_row(const KvView& cache, int64_t position);

/// Positions [0, n_pos) of a layer's cache as such rows, one after the other.
std::vector<float> read_cache(const KvView& cache, int64_t n_pos);

/// The other way: `row` becomes a position's key and value, rounded to the cache's format.
void write_cache_row(const KvView& cache, int64_t position, std::span<const float> row);

/// A position's key and value as they are stored; both caches have the same shape and format. (A q8_0 block
/// read and written back may get another scale where that is subnormal.)
void copy_cache_row(const KvView& from, const KvView& to, int64_t position);

/// Keys or values of whole heads as a cache would hold them.
void round_to_cache(std::span<float> values, Format format);

}  // namespace greta
