#include "engine/kv_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/half.h"

namespace greta {
namespace {

constexpr int64_t kLanes = 16;

/// Where one position's key or value of a head lies: dim d is the element first + d * lanes.
struct Slot {
  std::byte* data;
  int64_t first, lanes;
};

Slot key_slot(const KvView& view, int64_t position, int64_t head) {
  const int64_t tile = head * (view.capacity / kLanes) + position / kLanes;
  return {view.keys, tile * view.head_dim * kLanes + position % kLanes, kLanes};
}

Slot value_slot(const KvView& view, int64_t position, int64_t head) {
  return {view.values, (head * view.capacity + position) * view.head_dim, 1};
}

/// Calls body(key's slot, value's slot, head) for every head of a position.
template <class Body>
void for_heads(const KvView& view, int64_t position, Body body) {
  for (int64_t head = 0; head < view.n_head_kv; ++head)
    body(key_slot(view, position, head), value_slot(view, position, head), head);
}

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

/// A block of q8_0 (base/rounding.h).
struct Block {
  uint16_t scale;
  int8_t codes[kBlock];
};

Block to_block(std::span<const float> x) {
  float most = 0;
  for (const float value : x) most = std::isnan(value) ? value : std::max(most, std::abs(value));
  Block block{f32_to_f16(most / 127.0f), {}};
  const float d = f16_to_f32(block.scale);
  for (size_t i = 0; d > 0 && std::isfinite(d) && i < x.size(); ++i)
    block.codes[i] = static_cast<int8_t>(std::clamp(std::nearbyint(x[i] / d), -127.0f, 127.0f));
  return block;
}

void store(Slot slot, Format format, std::span<const float> values) {
  for (int64_t d = 0; d < std::ssize(values); ++d) {
    const int64_t element = slot.first + d * slot.lanes;
    const float value = values[static_cast<size_t>(d)];
    if (format == Format::f32) {
      reinterpret_cast<float*>(slot.data)[element] = value;
    } else if (format == Format::f16) {
      reinterpret_cast<uint16_t*>(slot.data)[element] = f32_to_f16(value);
    } else if (d % kBlock == 0) {
      const Block block = to_block(values.subspan(static_cast<size_t>(d), kBlock));
      std::memcpy(slot.data + q8_scale_at(element, slot.lanes), &block.scale, 2);
      for (int64_t i = 0; i < kBlock; ++i)
        std::memcpy(slot.data + q8_code_at(element, slot.lanes) + i * slot.lanes, &block.codes[i], 1);
    }
  }
}

float load(Slot slot, Format format, int64_t dim) {
  const int64_t element = slot.first + dim * slot.lanes;
  if (format == Format::f32) return reinterpret_cast<const float*>(slot.data)[element];
  if (format == Format::f16) return f16_to_f32(reinterpret_cast<const uint16_t*>(slot.data)[element]);
  uint16_t scale;
  std::memcpy(&scale, slot.data + q8_scale_at(element, slot.lanes), 2);
  const auto code = static_cast<int8_t>(slot.data[q8_code_at(element, slot.lanes)]);
  return f16_to_f32(scale) * static_cast<float>(code);
}

void copy(Slot from, Slot to, Format format, int64_t head_dim) {
  const int64_t bytes = format == Format::f32 ? 4 : 2;
  for (int64_t d = 0; d < head_dim; ++d) {
    const int64_t element = from.first + d * from.lanes;
    if (format != Format::q8_0) {
      std::memcpy(to.data + element * bytes, from.data + element * bytes, static_cast<size_t>(bytes));
      continue;
    }
    const int64_t scale = q8_scale_at(element, from.lanes), code = q8_code_at(element, from.lanes);
    std::memcpy(to.data + scale, from.data + scale, 2);
    to.data[code] = from.data[code];
  }
}

}  // namespace

int64_t cache_bytes(Format format, int64_t elements) {
  return format == Format::q8_0 ? elements / kBlock * (kBlock + 2)
                                : elements * (format == Format::f16 ? 2 : 4);
}

bool KvCache::can_hold(const ModelConfig& config, Format format) {
  return format != Format::q8_0 || (config.head_dim % kBlock == 0 && config.value_dim() % kBlock == 0);
}

KvCache::KvCache(const ModelConfig& config, int64_t positions, Format format, gpu::Device* device)
    : n_layer_(config.n_layer),
      n_head_kv_(config.n_head_kv),
      head_dim_(config.head_dim),
      capacity_((positions + kLanes - 1) / kLanes * kLanes),
      format_(format) {
  if (!can_hold(config, format)) {
    fail_input("a KV cache in q8_0 needs heads of a multiple of {} dims, those of {} have {}; use f16 or f32",
               kBlock, config.name, head_dim_);
  }
  const int64_t bytes = cache_bytes(format, n_head_kv_ * capacity_ * head_dim_);
  for (int64_t i = 0; i < n_layer_; ++i) {
    keys_.emplace_back(bytes, device);
    values_.emplace_back(bytes, device);
  }
  poison();
}

/// NaN in every format, where the bytes are.
void KvCache::poison() {
  for (std::vector<Mirror>* side : {&keys_, &values_}) {
    for (Mirror& layer : *side) layer.fill(0xff);
  }
}

void KvCache::truncate(int64_t length) {
  if (length == 0) {
    poison();
  } else {
    for (int64_t i = 0; i < n_layer_; ++i) fill(layer(i), length, length_, kPoison);
  }
  length_ = length;
}

void KvCache::fill_unused(float value) {
  for (int64_t i = 0; i < n_layer_; ++i) fill(layer(i), length_, capacity_, value);
}

void KvCache::fill_unused_like(int64_t position) {
  for (int64_t i = 0; i < n_layer_; ++i) {
    const std::vector<float> row = read_cache_row(layer(i), position);
    for (int64_t p = length_; p < capacity_; ++p) write_cache_row(layer(i), p, row);
  }
}

void KvCache::fill(KvView view, int64_t from, int64_t to, float value) const {
  const std::vector<float> row(static_cast<size_t>(2 * n_head_kv_ * head_dim_), value);
  for (int64_t position = from; position < to; ++position) write_cache_row(view, position, row);
}

template <class Data>
KvView KvCache::view(int64_t index, const Data& data) const {
  const size_t i = static_cast<size_t>(index);
  return {data(keys_[i]), data(values_[i]), format_, capacity_, n_head_kv_, head_dim_};
}

KvView KvCache::layer(int64_t index, bool writes) const {
  return view(index, [writes](Mirror& bytes) {
    return writes ? bytes.write_host() : const_cast<std::byte*>(bytes.read_host());
  });
}

KvView KvCache::device_layer(int64_t index, bool writes) const {
  return view(index, [writes](Mirror& bytes) {
    return writes ? bytes.write_device() : const_cast<std::byte*>(bytes.read_device());
  });
}

CacheCopy::CacheCopy(const KvView& cache)
    : keys_(cache_bytes(cache.format, cache.n_head_kv * cache.capacity * cache.head_dim)),
      values_(keys_.size()),
      view_(cache) {
  std::memcpy(keys_.data(), cache.keys, static_cast<size_t>(keys_.size()));
  std::memcpy(values_.data(), cache.values, static_cast<size_t>(values_.size()));
  view_.keys = keys_.data();
  view_.values = values_.data();
}

float cached_key(const KvView& cache, int64_t position, int64_t head, int64_t dim) {
  return load(key_slot(cache, position, head), cache.format, dim);
}

float cached_value(const KvView& cache, int64_t position, int64_t head, int64_t dim) {
  return load(value_slot(cache, position, head), cache.format, dim);
}

std::vector<float> read_cache_row(const KvView& cache, int64_t position) {
  const int64_t kv_dim = cache.n_head_kv * cache.head_dim;
  std::vector<float> row(static_cast<size_t>(2 * kv_dim));
  for_heads(cache, position, [&](Slot key, Slot value, int64_t head) {
    for (int64_t dim = 0; dim < cache.head_dim; ++dim) {
      const size_t at = static_cast<size_t>(head * cache.head_dim + dim);
      row[at] = load(key, cache.format, dim);
      row[static_cast<size_t>(kv_dim) + at] = load(value, cache.format, dim);
    }
  });
  return row;
}

std::vector<float> read_cache(const KvView& cache, int64_t n_pos) {
  std::vector<float> rows;
  rows.reserve(static_cast<size_t>(2 * n_pos * cache.n_head_kv * cache.head_dim));
  for (int64_t position = 0; position < n_pos; ++position) {
    const std::vector<float> row = read_cache_row(cache, position);
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

void write_cache_row(const KvView& cache, int64_t position, std::span<const float> row) {
  const size_t head_dim = static_cast<size_t>(cache.head_dim);
  for_heads(cache, position, [&](Slot key, Slot value, int64_t head) {
    const size_t at = static_cast<size_t>(head) * head_dim;
    store(key, cache.format, row.subspan(at, head_dim));
    store(value, cache.format, row.subspan(row.size() / 2 + at, head_dim));
  });
}

void copy_cache_row(const KvView& from, const KvView& to, int64_t position) {
  for (int64_t head = 0; head < from.n_head_kv; ++head) {
    copy(key_slot(from, position, head), key_slot(to, position, head), from.format, from.head_dim);
    copy(value_slot(from, position, head), value_slot(to, position, head), from.format, from.head_dim);
  }
}

void round_to_cache(std::span<float> values, Format format) {
  AlignedBytes stored(cache_bytes(format, std::ssize(values)));
  const Slot slot{stored.data(), 0, 1};
  store(slot, format, values);
  for (size_t i = 0; i < values.size(); ++i) values[i] = load(slot, format, static_cast<int64_t>(i));
}

}  // namespace greta
