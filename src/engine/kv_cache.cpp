#include "engine/kv_cache.h"

#include <limits>

#include "base/half.h"

namespace greta {
namespace {

constexpr int64_t kLanes = 16;

int64_t bytes_of(Format format) { return format == Format::f16 ? 2 : 4; }

int64_t key_index(const KvView& view, int64_t position, int64_t head, int64_t dim) {
  return ((head * (view.capacity / kLanes) + position / kLanes) * view.head_dim + dim) * kLanes +
         position % kLanes;
}

int64_t value_index(const KvView& view, int64_t position, int64_t head, int64_t dim) {
  return (head * view.capacity + position) * view.head_dim + dim;
}

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

void store(std::byte* data, Format format, int64_t index, float value) {
  if (format == Format::f16) {
    reinterpret_cast<uint16_t*>(data)[index] = f32_to_f16(value);
  } else {
    reinterpret_cast<float*>(data)[index] = value;
  }
}

float load(const std::byte* data, Format format, int64_t index) {
  if (format == Format::f16) return f16_to_f32(reinterpret_cast<const uint16_t*>(data)[index]);
  return reinterpret_cast<const float*>(data)[index];
}

}  // namespace

KvCache::KvCache(const ModelConfig& config, int64_t positions, Format format)
    : n_layer_(config.n_layer),
      n_head_kv_(config.n_head_kv),
      head_dim_(config.head_dim),
      capacity_((positions + kLanes - 1) / kLanes * kLanes),
      format_(format) {
  const int64_t bytes = n_head_kv_ * capacity_ * head_dim_ * bytes_of(format);
  for (int64_t i = 0; i < n_layer_; ++i) {
    keys_.emplace_back(bytes);
    values_.emplace_back(bytes);
    fill(layer(i), 0, capacity_, kPoison);
  }
}

void KvCache::truncate(int64_t length) {
  for (int64_t i = 0; i < n_layer_; ++i) fill(layer(i), length, length_, kPoison);
  length_ = length;
}

void KvCache::fill_unused(float value) {
  for (int64_t i = 0; i < n_layer_; ++i) fill(layer(i), length_, capacity_, value);
}

void KvCache::fill(KvView view, int64_t from, int64_t to, float value) const {
  for (int64_t head = 0; head < n_head_kv_; ++head) {
    for (int64_t position = from; position < to; ++position) {
      for (int64_t dim = 0; dim < head_dim_; ++dim) {
        store(view.keys, format_, key_index(view, position, head, dim), value);
        store(view.values, format_, value_index(view, position, head, dim), value);
      }
    }
  }
}

KvView KvCache::layer(int64_t index) const {
  // A view is how kernels write; the cache itself stays the owner.
  const auto data = [](const AlignedBytes& bytes) { return const_cast<std::byte*>(bytes.data()); };
  const size_t i = static_cast<size_t>(index);
  return {data(keys_[i]), data(values_[i]), format_, capacity_, n_head_kv_, head_dim_};
}

std::vector<float> read_cache(const KvView& cache, int64_t n_pos) {
  std::vector<float> rows;
  rows.reserve(static_cast<size_t>(2 * n_pos * cache.n_head_kv * cache.head_dim));
  for (int64_t position = 0; position < n_pos; ++position) {
    for (const bool keys : {true, false}) {
      for (int64_t head = 0; head < cache.n_head_kv; ++head) {
        for (int64_t dim = 0; dim < cache.head_dim; ++dim) {
          rows.push_back(keys ? load(cache.keys, cache.format, key_index(cache, position, head, dim))
                              : load(cache.values, cache.format, value_index(cache, position, head, dim)));
        }
      }
    }
  }
  return rows;
}

void write_cache_row(const KvView& cache, int64_t position, std::span<const float> row) {
  const int64_t kv_dim = cache.n_head_kv * cache.head_dim;
  for (int64_t i = 0; i < kv_dim; ++i) {
    const int64_t head = i / cache.head_dim, dim = i % cache.head_dim;
    store(cache.keys, cache.format, key_index(cache, position, head, dim), row[static_cast<size_t>(i)]);
    store(cache.values, cache.format, value_index(cache, position, head, dim),
          row[static_cast<size_t>(kv_dim + i)]);
  }
}

}  // namespace greta
