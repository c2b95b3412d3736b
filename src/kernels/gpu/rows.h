#pragma once
// Row-wise ops, with the CPU's formulas and orders (kernels/cpu/elementwise.h). A work-group has a row, or a
// head of one.

#include "kernels/gpu/block_weight.h"
#include "kernels/gpu/shapes.h"
#include "kernels/math.h"

namespace greta::gpu::GRETA_FORM {

/// Calls body(i) for this thread's share of [0, n).
template <class Body>
GRETA_DEVICE void each(int64_t n, Body body) {
#ifdef __CUDACC__  // for AMD's GPUs clang would divide to know how often
#pragma unroll 8
#endif
  for (int64_t i = thread_index(); i < n; i += thread_count()) body(i);
}

GRETA_DEVICE void rope_table(const Args& args) {
  const int64_t r = group_x(), pairs = args.params.rope_dims / 2;
  const float position = static_cast<float>(*args.position + r);
  float* out = args.out.row(r);
  each(pairs, [&](int64_t i) {
    const float high = args.params.rope_turns[2 * i], low = args.params.rope_turns[2 * i + 1];
    const float angle = position * high;
    const float error = math::fma(position, high, 0.0f - angle);
    const auto turned = math::sin_cos_turns(angle, math::fma(position, low, error));
    out[args.params.rope_adjacent ? 2 * i : i] = turned.cos;
    out[args.params.rope_adjacent ? 2 * i + 1 : pairs + i] = turned.sin;
  });
}

/// Where row `id` of the embedding lies: its panel, and its lane there.
struct EmbedRow {
  const std::byte* panel;
  int row;
  float* out;

  explicit GRETA_DEVICE EmbedRow(const Args& args) {
    const int32_t id = *args.in[0].row<int32_t>(group_x());
    panel = args.weight.panels + id / kPanelRows * args.weight.panel_bytes;
    row = static_cast<int>(id % kPanelRows);
    out = args.out.row(group_x());
  }
};

GRETA_DEVICE float scaled(float x, float scale) { return scale == 1 ? x : x * scale; }

template <TensorType kT>
GRETA_DEVICE void embed(const Args& args) {
  const EmbedRow from(args);
  const float scale = args.params.scale;
  if constexpr (block_code(kT).bits == 0) {
    each(args.weight.k,
         [&](int64_t k) { from.out[k] = scaled(PlainWeight<kT>::value(from.panel, k, from.row), scale); });
  } else {
    using W = BlockWeight<kT>;
    each(args.weight.k / 4, [&](int64_t i) {
      const int64_t block = i / 8;
      const int g = static_cast<int>(i % 8), group = g * W::kGroups / 8;
      const auto of = W::scales(from.panel, block, from.row);
      const int word = W::word(g, W::planes(from.panel, block, from.row));
      for (int byte = 0; byte < 4; ++byte)
        from.out[4 * i + byte] = scaled(W::value(word, byte, of.d[group], of.m[group]), scale);
    });
  }
}

// Rounding to int8.

/// The integer nearest to x / d within +-127; 0 where the quotient is no number.
GRETA_DEVICE int quantized(float x, float d) {
  float q = x / d;
  q = q == q ? q : 0.0f;
  q = q < -127.0f ? -127.0f : q;
  q = 127.0f < q ? 127.0f : q;
  return static_cast<int>((q + 0x1.8p23f) - 0x1.8p23f);
}

/// The largest magnitude of a team's 32 values. As integers, magnitudes are ordered like the floats, and NaN
/// is above all.
GRETA_DEVICE float largest(float low, float high) {
  const int a = math::bits(low) & 0x7fffffff, b = math::bits(high) & 0x7fffffff;
  return math::from_bits(most_of_team(a < b ? b : a));
}

/// A block of `out` from a team's 32 values: lane i has i and 16 + i.
GRETA_DEVICE void quantize_block(float low, float high, ActivationBlock& out, bool exists) {
  const float d = largest(low, high) / 127.0f;
  const int q_low = quantized(low, d), q_high = quantized(high, d);
  const int sum_low = sum_of_team(q_low), sum = sum_low + sum_of_team(q_high);
  if (!exists) return;
  out.q[lane_of_team()] = static_cast<int8_t>(q_low);
  out.q[kTeam + lane_of_team()] = static_cast<int8_t>(q_high);
  if (lane_of_team() != 0) return;
  out.d = d;
  out.s = d * static_cast<float>(sum);
  out.sum = sum;
  out.sum_low = sum_low;
}

/// A part of a row.
struct Span {
  int64_t begin, end;
};

/// What this work-group has of a row of n (kRowChunk).
GRETA_DEVICE Span chunk_of(int64_t n) {
  const int64_t begin = group_y() * kRowChunk;
  return {begin, smaller(n, begin + kRowChunk)};
}

/// value(k) for every k of a part of a row, to f32 or to blocks.
template <bool kToBlocks, class Value>
GRETA_DEVICE void store_row(const Args& args, int64_t row, const Span& part, Value value) {
  if constexpr (!kToBlocks) {
    float* out = args.out.row(row);
    each(part.end - part.begin, [&](int64_t i) { out[part.begin + i] = value(part.begin + i); });
  } else {
    ActivationBlock* out = args.out.row<ActivationBlock>(row);
    const int64_t blocks = part.end / kBlock, teams = thread_count() / kTeam;
    // All lanes of a wave stay together: a team without a block goes over the last one, and stores nothing.
    for (int64_t begin = part.begin / kBlock; begin < blocks; begin += teams) {
      const int64_t block = begin + thread_index() / kTeam, at = smaller(block, blocks - 1);
      const int64_t k = at * kBlock + lane_of_team();
      quantize_block(value(k), value(k + kTeam), out[at], block < blocks);
    }
  }
}

/// f32 rows as 16-bit floats, in pairs; a last one alone is paired with 0.
template <bool kBf16>
GRETA_DEVICE void quantize_half(const Args& args) {
  const float* x = args.in[0].row(group_x());
  uint32_t* out = args.out.row<uint32_t>(group_x());
  const int64_t n = args.in[0].cols;
  const auto bits = [&](int64_t k) -> uint32_t {
    if (k >= n) return 0;
    return kBf16 ? float_to_bf16(x[k]) : float_to_half(x[k]);
  };
  const Span part = chunk_of(n);
  each((part.end - part.begin + 1) / 2, [&](int64_t i) {
    const int64_t k = part.begin + 2 * i;
    out[k / 2] = bits(k) | bits(k + 1) << 16;
  });
}

GRETA_DEVICE void quantize(const Args& args) {
  const float* x = args.in[0].row(group_x());
  store_row<true>(args, group_x(), chunk_of(args.in[0].cols), [x](int64_t k) { return x[k]; });
}

inline constexpr int64_t kNormChunk = 4096;  // of a row: what is in shared memory at once

/// (x * r) * w with r = 1 / sqrt(sum(x^2) / K + eps), by heads of K; the sum runs in a team, from shared
/// memory.
template <bool kToBlocks>
GRETA_DEVICE void rms_norm(const Args& args) {
  const int64_t n = args.in[1].cols, heads = args.in[0].cols / n;
  const int64_t row = group_x() / heads, head = group_x() % heads;
  const float *x = args.in[0].row(row) + head * n, *w = args.in[1].row(0);
  GRETA_SHARED(float, values, kNormChunk);
  GRETA_SHARED(float, shared, 1);
  float squares = 0;
  for (int64_t begin = 0; begin < n; begin += kNormChunk) {
    const int64_t count = smaller(kNormChunk, n - begin);
    each(count, [&](int64_t i) { values[i] = x[begin + i]; });
    meet();
    if (thread_index() < kWave) {
#pragma unroll 16
      for (int64_t i = lane_of_team(); i < count; i += kTeam)
        squares = math::fma(values[i], values[i], squares);
    }
    if (begin + kNormChunk < n) meet();  // before the next chunk overwrites this one
  }
  if (thread_index() < kWave) {
    const float mean = sum_tree(squares) / static_cast<float>(n);
    if (thread_index() == 0) shared[0] = 1.0f / square_root(mean + args.params.eps);
  }
  meet();
  const float scale = shared[0];
  const auto value = [=](int64_t k) { return ((n <= kNormChunk ? values[k] : x[k]) * scale) * w[k]; };
  if constexpr (kToBlocks) {
    store_row<true>(args, row, {0, n}, value);
  } else {
    float* out = args.out.row(row) + head * n;
    each(n, [&](int64_t k) { out[k] = value(k); });
  }
}

/// (x cos - y sin, y cos + x sin), each as one product, then one FMA.
GRETA_DEVICE void rope(const Args& args) {
  const int64_t dims = args.params.rope_dims, head_dim = args.params.head_dim;
  const int64_t heads = args.in[0].cols / head_dim, row = group_x() / heads, head = group_x() % heads;
  const float *x = args.in[0].row(row) + head * head_dim, *table = args.in[1].row(row);
  float* out = args.out.row(row) + head * head_dim;
  const int64_t pairs = dims / 2;
  each(pairs, [&](int64_t i) {
    const bool adjacent = args.params.rope_adjacent;
    const int64_t a = adjacent ? 2 * i : i, b = adjacent ? 2 * i + 1 : pairs + i;
    const float cos = table[a], sin = table[b];
    const float first = x[a], second = x[b];
    out[a] = math::fma(first, cos, -(second * sin));
    out[b] = math::fma(second, cos, first * sin);
  });
  each(head_dim - dims, [&](int64_t i) { out[dims + i] = x[dims + i]; });
}

/// in0 + scale * in1 by FMA.
GRETA_DEVICE void add(const Args& args) {
  const float *a = args.in[0].row(group_x()), *b = args.in[1].row(group_x());
  store_row<false>(args, group_x(), chunk_of(args.out.cols),
                   [&](int64_t i) { return math::fma(b[i], args.params.scale, a[i]); });
}

struct Silu {
  GRETA_DEVICE float operator()(float x) const { return math::silu(x); }
};
struct Gelu {
  GRETA_DEVICE float operator()(float x) const { return math::gelu(x); }
};

/// f(in0) * in1.
template <class F, bool kToBlocks>
GRETA_DEVICE void gate(const Args& args) {
  const float *a = args.in[0].row(group_x()), *b = args.in[1].row(group_x());
  store_row<kToBlocks>(args, group_x(), chunk_of(args.in[0].cols),
                       [=](int64_t i) { return F{}(a[i]) * b[i]; });
}

}  // namespace greta::gpu::GRETA_FORM
