// Row-wise ops: rope_table, embed, quantize, rms_norm, rope, kv_write, add, silu_mul, gelu_mul.
// Threads share the rows.

#include "kernels/cpu/common.h"
#include "kernels/math.h"

namespace greta::GRETA_ISA {
namespace {

/// The cosine and sine of each pair's angle at position + row, in the order that rope reads. The angle in
/// turns is position * (high + low): the product's rounding error is recovered by FMA and the whole turns are
/// dropped exactly, so the angle is good to 2^-26 of a quarter turn at any position up to 2^20.
void rope_table(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("rope_table"));
  const Part::Range rows = part.of(args.out.rows);
  const int64_t dims = args.params.rope_dims;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    float* out = args.out.row(r);
    const f32x16 position(args.position + r);
    for (int64_t i = 0; i < dims; i += 16) {
      const int n = lanes_left(dims, i);
      const f32x16 turns = load_upto(args.params.rope_turns + i, n);
      const f32x16 high = dup_even(turns), low = dup_odd(turns);
      const f32x16 angle = position * high;
      const f32x16 error = fma(position, high, f32x16(0.0f) - angle);
      auto sc = math::sin_cos_turns(angle, fma(position, low, error));
      if (args.params.scale != 1) {
        sc.sin = sc.sin * f32x16(args.params.scale);
        sc.cos = sc.cos * f32x16(args.params.scale);
      }
      if (args.params.rope_adjacent) {
        store_upto(out + i, even_odd(sc.cos, sc.sin), n);
        continue;
      }
      float pairs[16];
      store(pairs, even_odd(sc.cos, sc.sin));
      for (int j = 0; j < n; j += 2) {
        out[(i + j) / 2] = pairs[j];
        out[(dims + i + j) / 2] = pairs[j + 1];
      }
    }
  }
}

/// Rows of the weight by token id. A gather of single bytes: the same code in every build (unpack_row).
GRETA_INLINE void gather_rows(const KernelArgs& args, Part part) {
  const Part::Range rows = part.of(args.out.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    int32_t id;
    __builtin_memcpy(&id, args.in[0].raw_row(r), 4);
    float* out = args.out.row(r);
    unpack_row(*args.weight, id, out);
    if (args.params.scale == 1) continue;
    for (int64_t i = 0; i < args.out.cols; ++i) out[i] *= args.params.scale;
  }
}

#define GRETA_EMBED(type)                                \
  void embed_##type(const KernelArgs& args, Part part) { \
    stamp(args, part, GRETA_NAME("embed." #type));       \
    gather_rows(args, part);                             \
  }
GRETA_EMBED(f32)
GRETA_EMBED(f16)
GRETA_EMBED(bf16)
GRETA_BLOCK_TYPES(GRETA_EMBED)
#undef GRETA_EMBED

/// Integers nearest to x / d within +-127; 0 where the quotient is no number.
GRETA_INLINE i32x16 quantized(f32x16 x, f32x16 d) {
  f32x16 q = x / d;
  q = select(is_number(q), q, f32x16(0.0f));
  q = select(less(q, f32x16(-127.0f)), f32x16(-127.0f), q);
  q = select(less(f32x16(127.0f), q), f32x16(127.0f), q);
  return round_to_i32(q);
}

/// The largest magnitude of 32 values.
/// As integers, magnitudes are ordered like the floats, and NaN is above all.
GRETA_INLINE float largest(f32x16 low, f32x16 high) {
  const i32x16 magnitude = set_i32(0x7fffffff);
  return __builtin_bit_cast(float, max_lane(max(bits(low) & magnitude, bits(high) & magnitude)));
}

/// 32 values to a block (kernels/pack.h).
GRETA_INLINE void quantize_block(f32x16 low, f32x16 high, ActivationBlock& out) {
  const float d = largest(low, high) / 127.0f;
  const i32x16 q_low = quantized(low, f32x16(d)), q_high = quantized(high, f32x16(d));
  store_low8(out.q, q_low);
  store_low8(out.q + 16, q_high);
  const int32_t sum_low = sum_lanes(q_low), sum = sum_low + sum_lanes(q_high);
  out.d = d;
  out.s = d * sum;
  out.sum = sum;
  out.sum_low = sum_low;
}

/// Every block of every row of `out`, from values(row, k): 16 f32 from k on.
template <class Values>
GRETA_INLINE void quantize_rows(const KernelArgs& args, Part part, Values values) {
  const Part::Range rows = part.of(args.out.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    ActivationBlock* out = args.out.row<ActivationBlock>(r);
    const auto row = values(r);
    for (int64_t k = 0; k < args.in[0].cols; k += kBlock)
      quantize_block(row(k), row(k + 16), out[k / kBlock]);
  }
}

void quantize_q8(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("quantize.q8_block32"));
  quantize_rows(
      args, part, [&](int64_t r) __attribute__((always_inline)) {
        const float* x = args.in[0].row(r);
        return [x](int64_t k) __attribute__((always_inline)) { return load(x + k); };
      });
}

/// bf16 bits in the low half of each lane: nearest even, NaN quiet.
GRETA_INLINE i32x16 to_bf16(f32x16 x) {
  const i32x16 wide = bits(x);
  const i32x16 odd = shr<16>(wide) & set_i32(1);
  const i32x16 rounded = shr<16>(wide + set_i32(0x7fff) + odd);
  return select(is_number(x), rounded, shr<16>(wide) | set_i32(0x40));
}

/// store(to, x) rounds 16 values.
template <class Store>
GRETA_INLINE void round_rows(const KernelArgs& args, Part part, Store store) {
  const Part::Range rows = part.of(args.out.rows);
  const int64_t k = args.in[0].cols;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* x = args.in[0].row(r);
    uint16_t* out = args.out.row<uint16_t>(r);
    int64_t i = 0;
    for (; i + 16 <= k; i += 16) store(out + i, load(x + i));
    if (i == k) continue;
    uint16_t tail[16];
    store(tail, load_n(x + i, lanes_left(k, i)));  // lanes beyond k are zero: the padding
    for (int j = 0; i + j < (k + 1) / 2 * 2; ++j) out[i + j] = tail[j];
  }
}

void quantize_bf16(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("quantize.bf16"));
  round_rows(
      args, part,
      [](uint16_t * to, f32x16 x) __attribute__((always_inline)) { store_low16(to, to_bf16(x)); });
}

void quantize_f16(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("quantize.f16"));
  round_rows(
      args, part, [](uint16_t * to, f32x16 x) __attribute__((always_inline)) { store_f16(to, x); });
}

/// (x * r) * w with r = 1 / sqrt(sum(x^2) / K + eps), for every K elements of a row. The sum runs in 16 lanes
/// (element k in lane k mod 16, FMAs in order), then by the fixed tree.
GRETA_INLINE f32x16 norm_scale(const float* x, int64_t k, float eps) {
  f32x16 squares(0.0f);
  for (int64_t i = 0; i < k; i += 16) {
    const f32x16 v = load_upto(x + i, lanes_left(k, i));
    squares = fma(v, v, squares);
  }
  const float mean = sum_tree(squares) / k;
  return f32x16(1.0f / __builtin_sqrtf(mean + eps));
}

GRETA_INLINE void norm_row(const float* x, const float* w, int64_t k, float eps, float* out) {
  const f32x16 scale = norm_scale(x, k, eps);
  for (int64_t i = 0; i < k; i += 16) {
    const int n = lanes_left(k, i);
    store_upto(out + i, (load_upto(x + i, n) * scale) * load_upto(w + i, n), n);
  }
}

void rms_norm(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("rms_norm"));
  const Part::Range rows = part.of(args.out.rows);
  const int64_t k = args.in[1].cols;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    for (int64_t h = 0; h + k <= args.in[0].cols; h += k)
      norm_row(args.in[0].row(r) + h, args.in[1].row(0), k, args.params.eps, args.out.row(r) + h);
  }
}

/// The norm of whole rows, quantised as quantize_q8 would: fuse_quantize() puts it in their place.
void rms_norm_q8(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("rms_norm.q8_block32"));
  const float* w = args.in[1].row(0);
  quantize_rows(
      args, part, [&](int64_t r) __attribute__((always_inline)) {
        const float* x = args.in[0].row(r);
        const f32x16 scale = norm_scale(x, args.in[0].cols, args.params.eps);
        return [ x, w, scale ](int64_t k) __attribute__((always_inline)) {
          return (load(x + k) * scale) * load(w + k);
        };
      });
}

/// One head, pairs (2i, 2i + 1) by (cos, sin):
/// (x cos - y sin, y cos + x sin), each as one product, then one FMA.
GRETA_INLINE void turn_adjacent(const float* x, const float* table, int64_t dims, float* out) {
  const i32x16 even_sign = bits(even_odd(f32x16(-0.0f), f32x16(0.0f)));
  for (int64_t i = 0; i < dims; i += 16) {
    const int n = lanes_left(dims, i);
    const f32x16 v = load_upto(x + i, n), cs = load_upto(table + i, n);
    const f32x16 cross = from_bits(bits(swap_pairs(v) * dup_odd(cs)) ^ even_sign);
    store_upto(out + i, fma(v, dup_even(cs), cross), n);
  }
}

/// The same of pairs (i, i + dims / 2).
GRETA_INLINE void turn_halves(const float* x, const float* table, int64_t dims, float* out) {
  const int64_t half = dims / 2;
  const i32x16 sign = bits(f32x16(-0.0f));
  for (int64_t i = 0; i < half; i += 16) {
    const int n = lanes_left(half, i);
    const f32x16 a = load_upto(x + i, n), b = load_upto(x + half + i, n);
    const f32x16 cos = load_upto(table + i, n), sin = load_upto(table + half + i, n);
    store_upto(out + i, fma(a, cos, from_bits(bits(b * sin) ^ sign)), n);
    store_upto(out + half + i, fma(b, cos, a * sin), n);
  }
}

void rope(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("rope"));
  const Part::Range rows = part.of(args.out.rows);
  const int64_t dims = args.params.rope_dims, head_dim = args.params.head_dim;
  const int64_t first = args.params.rope_first;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* table = args.in[1].row(r);
    for (int64_t h = 0; h + head_dim <= args.in[0].cols; h += head_dim) {
      const float* x = args.in[0].row(r) + h;
      float* out = args.out.row(r) + h;
      for (int64_t i = 0; i < first; ++i) out[i] = x[i];
      if (args.params.rope_adjacent) {
        turn_adjacent(x + first, table, dims, out + first);
      } else {
        turn_halves(x + first, table, dims, out + first);
      }
      for (int64_t i = first + dims; i < head_dim; ++i) out[i] = x[i];
    }
  }
}

/// Where a key or value lies in the cache: dim d is the element first + d * lanes.
struct CacheSlot {
  std::byte* base;
  int64_t first, lanes;
};

GRETA_INLINE void put_q8(const float* x, int64_t head_dim, CacheSlot slot) {
  for (int64_t d = 0; d < head_dim; d += kBlock) {
    const f32x16 low = load(x + d), high = load(x + d + 16);
    uint16_t half[16];
    store_f16(half, f32x16(largest(low, high) / 127.0f));
    const f32x16 scale = load_f16(half), zero(0.0f);
    const mask16 some = less(zero, scale);
    std::byte codes[kBlock];
    store_low8(codes, select(some, quantized(low, scale), set_i32(0)));
    store_low8(codes + 16, select(some, quantized(high, scale), set_i32(0)));
    const int64_t element = slot.first + d * slot.lanes;
    __builtin_memcpy(slot.base + q8_scale_at(element, slot.lanes), half, 2);
    std::byte* out = slot.base + q8_code_at(element, slot.lanes);
    for (int64_t i = 0; i < kBlock; ++i) out[i * slot.lanes] = codes[i];
  }
}

/// A key or a value of a head, n dims, into the cache, in the cache's format, and zeros behind it.
GRETA_INLINE void put(const float* x, int64_t n, const KvView& kv, CacheSlot slot) {
  if (kv.format == Format::q8_0) {
    put_q8(x, n, slot);
    const float none[kBlock] = {};
    for (int64_t d = n; d < kv.head_dim; d += kBlock)
      put_q8(none, kBlock, {slot.base, slot.first + d * slot.lanes, slot.lanes});
    return;
  }
  for (int64_t d = 0; d < kv.head_dim; ++d) {
    const int64_t element = slot.first + d * slot.lanes;
    const float value = d < n ? x[d] : 0.0f;
    if (kv.format == Format::f32) {
      reinterpret_cast<float*>(slot.base)[element] = value;
      continue;
    }
    alignas(32) uint16_t half[16];
    store_f16(half, f32x16(value));
    reinterpret_cast<uint16_t*>(slot.base)[element] = half[0];
  }
}

void kv_write(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("kv_write"));
  const KvView& kv = args.cache;
  const Part::Range heads = part.of(args.in[0].rows * kv.n_head_kv);
  const int64_t of_value = args.in[1].cols / kv.n_head_kv;
  for (int64_t unit = heads.begin; unit < heads.end; ++unit) {
    const int64_t r = unit / kv.n_head_kv, h = unit % kv.n_head_kv, p = args.position + r;
    const int64_t first_key = (h * (kv.capacity / 16) + p / 16) * kv.head_dim * 16 + p % 16;
    put(args.in[0].row(r) + h * kv.head_dim, kv.head_dim, kv, {kv.keys, first_key, 16});
    put(args.in[1].row(r) + h * of_value, of_value, kv, {kv.values, (h * kv.capacity + p) * kv.head_dim, 1});
  }
}

void join_heads(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("join_heads"));
  const Part::Range rows = part.of(args.out.rows);
  const int64_t heads = args.params.n_head, from_end = args.params.rope_dims;
  const int64_t a = args.in[0].cols / heads, b = args.in[1].cols / heads;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    float* out = args.out.row(r);
    for (int64_t h = 0; h < heads; ++h, out += b + from_end) {
      __builtin_memcpy(out, args.in[1].row(r) + h * b, static_cast<size_t>(b) * sizeof(float));
      __builtin_memcpy(out + b, args.in[0].row(r) + (h + 1) * a - from_end,
                       static_cast<size_t>(from_end) * sizeof(float));
    }
  }
}

/// out = f(in0, in1), lane by lane.
template <class F>
GRETA_INLINE void each_pair(const KernelArgs& args, Part part, F f) {
  const Part::Range rows = part.of(args.out.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    for (int64_t i = 0; i < args.out.cols; i += 16) {
      const int n = lanes_left(args.out.cols, i);
      store_upto(args.out.row(r) + i,
                 f(load_upto(args.in[0].row(r) + i, n), load_upto(args.in[1].row(r) + i, n)), n);
    }
  }
}

/// in0 + scale * in1 by FMA: a scale of 1 gives the bits of the sum.
void add(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("add"));
  const f32x16 scale(args.params.scale);
  each_pair(args, part, [&](f32x16 a, f32x16 b) { return fma(b, scale, a); });
}

/// The same, quantised as quantize_q8 would.
template <class F>
GRETA_INLINE void each_pair_q8(const KernelArgs& args, Part part, F f) {
  quantize_rows(
      args, part, [&](int64_t r) __attribute__((always_inline)) {
        const float *a = args.in[0].row(r), *b = args.in[1].row(r);
        return [ a, b, f ](int64_t k) __attribute__((always_inline)) { return f(load(a + k), load(b + k)); };
      });
}

struct SiluMul {
  GRETA_INLINE f32x16 operator()(f32x16 gate, f32x16 up) const { return math::silu(gate) * up; }
};
struct GeluMul {
  GRETA_INLINE f32x16 operator()(f32x16 gate, f32x16 up) const { return math::gelu(gate) * up; }
};

struct SwigluOaiMul {
  GRETA_INLINE f32x16 operator()(f32x16 gate, f32x16 up) const {
    const f32x16 limit(7.0f), least(-7.0f), one(1.0f);
    gate = select(less(limit, gate), limit, gate);
    up = select(less(limit, up), limit, select(less(up, least), least, up));
    const f32x16 decay = math::exp(gate * f32x16(-1.702f));
    return (gate / (one + decay)) * (up + one);
  }
};

void silu_mul(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("silu_mul"));
  each_pair(args, part, SiluMul{});
}

void silu_mul_q8(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("silu_mul.q8_block32"));
  each_pair_q8(args, part, SiluMul{});
}

void gelu_mul(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("gelu_mul"));
  each_pair(args, part, GeluMul{});
}

void gelu_mul_q8(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("gelu_mul.q8_block32"));
  each_pair_q8(args, part, GeluMul{});
}

void swiglu_oai_mul(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("swiglu_oai_mul"));
  each_pair(args, part, SwigluOaiMul{});
}

void swiglu_oai_mul_q8(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("swiglu_oai_mul.q8_block32"));
  each_pair_q8(args, part, SwigluOaiMul{});
}

constexpr Roundings kToBlocks{.output = Format::q8_block32};

constexpr KernelEntry row_op(const char* name, OpKind op, KernelFn run, Roundings roundings = {}) {
  return {.name = name, .op = op, .roundings = roundings, .run = run};
}
constexpr KernelEntry embed(const char* name, TensorType type, KernelFn run) {
  return {.name = name, .op = OpKind::embed, .type = type, .run = run};
}
#define GRETA_EMBED_ENTRY(type) embed(GRETA_NAME("embed." #type), TensorType::type, embed_##type)
#define GRETA_BLOCK_EMBED(type) GRETA_EMBED_ENTRY(type),

constexpr KernelEntry kEntries[] = {
    row_op(GRETA_NAME("rope_table"), OpKind::rope_table, rope_table),
    row_op(GRETA_NAME("quantize.q8_block32"), OpKind::quantize, quantize_q8, kToBlocks),
    row_op(GRETA_NAME("quantize.bf16"), OpKind::quantize, quantize_bf16, {.output = Format::bf16}),
    row_op(GRETA_NAME("quantize.f16"), OpKind::quantize, quantize_f16, {.output = Format::f16}),
    row_op(GRETA_NAME("rms_norm"), OpKind::rms_norm, rms_norm),
    row_op(GRETA_NAME("rms_norm.q8_block32"), OpKind::rms_norm, rms_norm_q8, kToBlocks),
    row_op(GRETA_NAME("rope"), OpKind::rope, rope),
    row_op(GRETA_NAME("kv_write"), OpKind::kv_write, kv_write),
    row_op(GRETA_NAME("join_heads"), OpKind::join_heads, join_heads),
    row_op(GRETA_NAME("add"), OpKind::add, add),
    row_op(GRETA_NAME("silu_mul"), OpKind::silu_mul, silu_mul),
    row_op(GRETA_NAME("silu_mul.q8_block32"), OpKind::silu_mul, silu_mul_q8, kToBlocks),
    row_op(GRETA_NAME("gelu_mul"), OpKind::gelu_mul, gelu_mul),
    row_op(GRETA_NAME("gelu_mul.q8_block32"), OpKind::gelu_mul, gelu_mul_q8, kToBlocks),
    row_op(GRETA_NAME("swiglu_oai_mul"), OpKind::swiglu_oai_mul, swiglu_oai_mul),
    row_op(GRETA_NAME("swiglu_oai_mul.q8_block32"), OpKind::swiglu_oai_mul, swiglu_oai_mul_q8, kToBlocks),
    GRETA_EMBED_ENTRY(f32),
    GRETA_EMBED_ENTRY(f16),
    GRETA_EMBED_ENTRY(bf16),
    GRETA_BLOCK_TYPES(GRETA_BLOCK_EMBED)};
#undef GRETA_BLOCK_EMBED
#undef GRETA_EMBED_ENTRY

}  // namespace

extern const KernelList kElementwiseKernels;
const KernelList kElementwiseKernels{kEntries, sizeof(kEntries) / sizeof(kEntries[0])};

}  // namespace greta::GRETA_ISA
