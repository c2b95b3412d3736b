#pragma once
// How a cache is read and written, with the CPU's roundings (kernels/cpu/elementwise.h); an element is
// numbered as KvView says. Keys have 16 lanes, values one.

#include "kernels/gpu/copy.h"
#include "kernels/gpu/rows.h"

namespace greta::gpu::GRETA_FORM {

// kBlocks: written by blocks of 32 dims; else write() an element, of which written() is read. read_8():
// elements from one on whose number is a multiple of 8. bytes(): of so many.

struct CacheF32 {
  static constexpr bool kBlocks = false;
  static GRETA_DEVICE float written(float x) { return x; }
  static GRETA_DEVICE void write(float x, std::byte* base, int64_t element) {
    reinterpret_cast<float*>(base)[element] = x;
  }
  static GRETA_DEVICE int64_t bytes(int64_t elements) { return elements * 4; }
  static GRETA_DEVICE float read(const std::byte* base, int64_t element, int) {
    return load<float>(base + element * 4);
  }
  static GRETA_DEVICE void read_8(const std::byte* base, int element, int, float (&to)[8]) {
    const Quad quads[2] = {load<Quad>(base + element * 4), load<Quad>(base + element * 4 + 16)};
#pragma unroll
    for (int i = 0; i < 8; ++i) to[i] = __builtin_bit_cast(float, quads[i / 4].words[i % 4]);
  }
};

struct CacheF16 {
  static constexpr bool kBlocks = false;
  static GRETA_DEVICE float written(float x) { return half_to_float(float_to_half(x)); }
  static GRETA_DEVICE void write(float x, std::byte* base, int64_t element) {
    reinterpret_cast<uint16_t*>(base)[element] = float_to_half(x);
  }
  static GRETA_DEVICE int64_t bytes(int64_t elements) { return elements * 2; }
  static GRETA_DEVICE float read(const std::byte* base, int64_t element, int) {
    return half_to_float(load<uint16_t>(base + element * 2));
  }
  static GRETA_DEVICE void read_8(const std::byte* base, int element, int, float (&to)[8]) {
    const Quad quad = load<Quad>(base + element * 2);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      to[i] = half_to_float(static_cast<uint16_t>(quad.words[i / 2] >> (16 * (i % 2))));
  }
};

struct CacheQ8 {
  static constexpr bool kBlocks = true;
  static GRETA_DEVICE int64_t bytes(int64_t elements) { return elements / kBlock * 34; }
  static GRETA_DEVICE float read(const std::byte* base, int64_t element, int lanes) {
    const float scale = half_to_float(load<uint16_t>(base + q8_scale_at(element, lanes)));
    return static_cast<float>(load<int8_t>(base + q8_code_at(element, lanes))) * scale;
  }
  static GRETA_DEVICE void read_8(const std::byte* base, int element, int lanes, float (&to)[8]) {
    const std::byte *codes = base + q8_code_at(element, lanes), *scales = base + q8_scale_at(element, lanes);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int pair = load<int16_t>(codes + i / 2 * 2);
      to[i] = static_cast<float>(static_cast<int8_t>(pair >> (8 * (i % 2)))) *
              half_to_float(load<uint16_t>(scales + (lanes == 1 ? 0 : 2 * i)));
    }
  }
};

template <class Body>
GRETA_DEVICE void with_cache(Format format, Body body) {
  if (format == Format::q8_0) return body(CacheQ8{});
  format == Format::f16 ? body(CacheF16{}) : body(CacheF32{});
}

/// Where a head's keys from a block of 16 positions on begin, and its values of a position.
GRETA_DEVICE int64_t keys_at(const KvView& kv, int64_t head, int64_t position) {
  return (head * (kv.capacity / kTeam) + position / kTeam) * kv.head_dim * kTeam;
}
GRETA_DEVICE int64_t values_at(const KvView& kv, int64_t head, int64_t position) {
  return (head * kv.capacity + position) * kv.head_dim;
}

/// A team's 32 values as a block of a q8_0 cache: lane i has i and 16 + i.
struct Q8Pair {
  uint16_t half;
  float scale;
  int low, high;

  GRETA_DEVICE Q8Pair(float x, float y) : half(float_to_half(largest(x, y) / 127.0f)) {
    scale = half_to_float(half);
    const bool some = 0.0f < scale;
    low = some ? quantized(x, scale) : 0;
    high = some ? quantized(y, scale) : 0;
  }
};

/// A team has every so many-th block of 32 dims: body(dim of its lane, pair, whether the block exists).
template <class Body>
GRETA_DEVICE void each_q8_pair(const float* x, int64_t head_dim, Body body) {
  const int team = thread_index() / kTeam, teams = thread_count() / kTeam;
  for (int64_t begin = 0; begin < head_dim; begin += teams * kBlock) {
    const int64_t d = begin + team * kBlock, at = smaller(d, head_dim - kBlock) + lane_of_team();
    body(at, Q8Pair(x[at], x[at + kTeam]), d < head_dim);
  }
}

/// A key or a value of a head into the cache, in its format.
template <class Cache>
GRETA_DEVICE void put(const float* x, int64_t head_dim, std::byte* base, int64_t first, int64_t lanes) {
  if constexpr (Cache::kBlocks) {
    each_q8_pair(x, head_dim, [&](int64_t d, const Q8Pair& pair, bool exists) {
      if (!exists) return;
      const int64_t element = first + (d - lane_of_team()) * lanes;
      std::byte* codes = base + q8_code_at(element, lanes) + lane_of_team() * lanes;
      codes[0] = static_cast<std::byte>(pair.low);
      codes[kTeam * lanes] = static_cast<std::byte>(pair.high);
      if (lane_of_team() == 0) *reinterpret_cast<uint16_t*>(base + q8_scale_at(element, lanes)) = pair.half;
    });
  } else {
    each(head_dim, [&](int64_t d) { Cache::write(x[d], base, first + d * lanes); });
  }
}

/// What is read of x once it is in the cache.
template <class Cache>
GRETA_DEVICE void put_and_read(const float* x, int64_t head_dim, float* to) {
  if constexpr (Cache::kBlocks) {
    each_q8_pair(x, head_dim, [&](int64_t d, const Q8Pair& pair, bool exists) {
      if (!exists) return;
      to[d] = static_cast<float>(pair.low) * pair.scale;
      to[d + kTeam] = static_cast<float>(pair.high) * pair.scale;
    });
  } else {
    each(head_dim, [&](int64_t d) { to[d] = Cache::written(x[d]); });
  }
}

/// A head's key and value into the cache.
template <class Cache>
GRETA_DEVICE void put_key_value(const float* k, const float* v, const KvView& kv, int64_t head, int64_t p) {
  put<Cache>(k, kv.head_dim, kv.keys, keys_at(kv, head, p) + p % kTeam, kTeam);
  put<Cache>(v, kv.head_dim, kv.values, values_at(kv, head, p), 1);
}

GRETA_DEVICE void kv_write(const Args& args) {
  const KvView& kv = args.cache;
  const int64_t r = group_x() / kv.n_head_kv, h = group_x() % kv.n_head_kv;
  with_cache(kv.format, [&](auto cache) {
    put_key_value<decltype(cache)>(args.in[0].row(r) + h * kv.head_dim, args.in[1].row(r) + h * kv.head_dim,
                                   kv, h, *args.position + r);
  });
}

}  // namespace greta::gpu::GRETA_FORM
