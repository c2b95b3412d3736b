#pragma once
// Row-wise ops, with the CPU's formulas and orders (kernels/cpu/elementwise.h). A work-group has a row, or a
// head of one.

#include "kernels/gpu/block_weight.h"
#include "kernels/gpu/shapes.h"
#include "kernels/math.h"

namespace greta::gpu::GRETA_FORM {

/// Calls body(i) for this thread's share of [0, n). Not unrolled: a step's kernels run through their code
/// once, and fetching it is what takes the time.
template <class Body>
GRETA_DEVICE void each(int64_t n, Body body) {
#pragma unroll 1
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

/// use(i, read(i)) for this thread's share of [0, n): what is read is asked for several times before it is
/// used, because what `use` writes might be what the next one reads, for all that a compiler knows.
template <int kFew = 8, class Read, class Use>
GRETA_DEVICE void each_read(int64_t n, Read read, Use use) {
  const int count = static_cast<int>(n), apart = thread_count();
  for (int first = thread_index(); first < count; first += kFew * apart) {
    decltype(read(0)) got[kFew] = {};
#pragma unroll
    for (int i = 0; i < kFew; ++i) {
      if (first + i * apart < count) got[i] = read(first + i * apart);
    }
#pragma unroll
    for (int i = 0; i < kFew; ++i) {
      if (first + i * apart < count) use(first + i * apart, got[i]);
    }
  }
}

/// A part of a row.
struct Span {
  int64_t begin, end;
};

/// What this work-group has of a row of n: an equal share, in whole blocks.
GRETA_DEVICE Span share_of(const Args& args, int64_t n) {
  constexpr unsigned kOne = static_cast<unsigned>(kBlock);  // a division of 64 bits would take long
  const unsigned groups = static_cast<unsigned>(args.groups),
                 blocks = (static_cast<unsigned>(n) + kOne - 1) / kOne;
  const int64_t share = (blocks + groups - 1) / groups * kOne, begin = smaller(n, group_y() * share);
  return {begin, smaller(n, begin + share)};
}

/// value(k) for every k of a part of a row, which begins at a whole block: blocks.
template <class Value>
GRETA_DEVICE void store_blocks(ActivationBlock* out, const Span& part, Value value) {
  const int64_t blocks = part.end / kBlock, teams = thread_count() / kTeam;
  // All lanes of a wave stay together: a team without a block goes over the last one, and stores nothing.
  for (int64_t begin = part.begin / kBlock; begin < blocks; begin += teams) {
    const int64_t block = begin + thread_index() / kTeam, at = smaller(block, blocks - 1);
    const int64_t k = at * kBlock + lane_of_team();
    quantize_block(value(k), value(k + kTeam), out[at], block < blocks);
  }
}

/// 16-bit floats, in pairs; a last one alone is paired with 0.
template <class Value>
GRETA_DEVICE void store_halves(uint32_t* out, const Span& part, bool bf16, Value value) {
  const auto bits = [&](int64_t k) -> uint32_t {
    if (k >= part.end) return 0;
    return bf16 ? float_to_bf16(value(k)) : float_to_half(value(k));
  };
  each_read((part.end - part.begin + 1) / 2,
            [&](int i) {
              const int64_t k = part.begin + 2 * i;
              return bits(k) | bits(k + 1) << 16;
            },
            [&](int i, uint32_t pair) { out[part.begin / 2 + i] = pair; });
}

/// The same in the format that the output has.
template <class Value>
GRETA_DEVICE void store_row(const Args& args, int64_t row, const Span& part, Value value) {
  const Format format = args.out.format;
  if (format == Format::q8_block32) return store_blocks(args.out.row<ActivationBlock>(row), part, value);
  if (format != Format::f32)
    return store_halves(args.out.row<uint32_t>(row), part, format == Format::bf16, value);
  float* out = args.out.row(row);
  each_read(
      part.end - part.begin, [&](int i) { return value(part.begin + i); },
      [&](int i, float x) { out[part.begin + i] = x; });
}

GRETA_DEVICE void quantize(const Args& args) {
  const float* x = args.in[0].row(group_x());
  store_row(args, group_x(), share_of(args, args.in[0].cols), [x](int64_t k) { return x[k]; });
}

/// A pair of a head's dims: (x cos - y sin, y cos + x sin), each as one product, then one FMA.
struct RopePair {
  int first, second;  // dims
  float x, y, cos, sin;

  RopePair() = default;
  GRETA_DEVICE RopePair(const OpParams& params, int i, const float* head, const float* table) {
    const int pairs = static_cast<int>(params.rope_dims) / 2;
    first = params.rope_adjacent ? 2 * i : i, second = params.rope_adjacent ? 2 * i + 1 : pairs + i;
    cos = table[first], sin = table[second];
    x = head[first], y = head[second];
  }
  GRETA_DEVICE void store(float* out) const {
    out[first] = math::fma(x, cos, -(y * sin));
    out[second] = math::fma(y, cos, x * sin);
  }
};

/// A head, by all threads.
GRETA_DEVICE void rope_head(const OpParams& params, const float* x, const float* table, float* out) {
  const int64_t dims = params.rope_dims;
  each(dims / 2, [&](int64_t i) { RopePair(params, static_cast<int>(i), x, table).store(out); });
  each(params.head_dim - dims, [&](int64_t i) { out[dims + i] = x[dims + i]; });
}

GRETA_DEVICE void rope(const Args& args) {
  const int64_t head_dim = args.params.head_dim, heads = args.in[0].cols / head_dim;
  const int64_t row = group_x() / heads, at = group_x() % heads * head_dim;
  rope_head(args.params, args.in[0].row(row) + at, args.in[1].row(row), args.out.row(row) + at);
}

/// in0 + scale * in1 by FMA.
GRETA_DEVICE void add(const Args& args) {
  const float *a = args.in[0].row(group_x()), *b = args.in[1].row(group_x());
  store_row(args, group_x(), share_of(args, args.out.cols),
            [&](int64_t i) { return math::fma(b[i], args.params.scale, a[i]); });
}

struct Silu {
  GRETA_DEVICE float operator()(float x) const { return math::silu(x); }
};
struct Gelu {
  GRETA_DEVICE float operator()(float x) const { return math::gelu(x); }
};

/// f(in0) * in1.
template <class F>
GRETA_DEVICE void gate(const Args& args) {
  const float *a = args.in[0].row(group_x()), *b = args.in[1].row(group_x());
  store_row(args, group_x(), share_of(args, args.in[0].cols), [=](int64_t i) { return F{}(a[i]) * b[i]; });
}

}  // namespace greta::gpu::GRETA_FORM
