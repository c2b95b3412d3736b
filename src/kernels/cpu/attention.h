// qk, softmax, pv, and attention: the three fused, tile by tile, with the same functions, so the same bits.
//
//   score(p)  = scale * chain over d of fma(key(p, d), q(d), .)     capped, where the model does; -inf beyond
//                                                                   the own position and before the window;
//                                                                   lanes are positions
//   weight(p) = exp(score(p) - max) * (1 / sum)                     the sum runs in 16 lanes (position p in
//                                                                   lane p mod 16), then the fixed tree; a
//                                                                   sink's term comes last
//   out(d)    = chain over p of fma(value(p, d), weight(p), .)      in order, the own position last; later
//                                                                   slots are never read into a sum
//
// A row's bits don't depend on how many positions other rows see: masked weights are +0 and add nothing to
// the sums of softmax, and pv reads no position that its row does not see. Blocks of 16 positions before a
// window are skipped: a row costs what it sees.

#include "kernels/cpu/common.h"
#include "kernels/math.h"

namespace greta::GRETA_ISA {
namespace {

static_assert(kMixVectors == 1 || kMixVectors % 2 == 0);
static_assert(kAttentionRows * 16 <= attention_scratch_floats(16));

constexpr float kMasked = -__builtin_inff();

// How a cache is read. Keys: a vector of 16 positions per dim, in runs of dims that begin at an element.
// Values: of position p, vector v (n <= 16 dims) of several; dim 0 of position 0 is at an element. A q8_0
// block has two vectors: several begin with a whole one.

struct CacheF32 {
  struct Keys {
    const float* at;
    Keys() = default;
    GRETA_INLINE Keys(const std::byte* base, int64_t element)
        : at(reinterpret_cast<const float*>(base) + element) {}
    GRETA_INLINE f32x16 read(int64_t d) const { return load(at + d * 16); }
  };
  static constexpr int64_t run(int64_t head_dim) { return head_dim; }
  struct Values {
    const float* at;
    int64_t stride;
    GRETA_INLINE Values(const KvView& kv, int64_t element)
        : at(reinterpret_cast<const float*>(kv.values) + element), stride(kv.head_dim) {}
    template <int kVectors>
    GRETA_INLINE f32x16 read(int64_t p, int v, int n) const {
      return load_upto(at + p * stride + v * 16, n);
    }
  };
};

struct CacheF16 {
  struct Keys {
    const std::byte* at;
    Keys() = default;
    GRETA_INLINE Keys(const std::byte* base, int64_t element) : at(base + element * 2) {}
    GRETA_INLINE f32x16 read(int64_t d) const { return load_f16(at + d * 32); }
  };
  static constexpr int64_t run(int64_t head_dim) { return head_dim; }
  struct Values {
    const std::byte* at;
    int64_t stride;
    GRETA_INLINE Values(const KvView& kv, int64_t element)
        : at(kv.values + element * 2), stride(kv.head_dim * 2) {}
    template <int kVectors>
    GRETA_INLINE f32x16 read(int64_t p, int v, int n) const {
      const std::byte* from = at + p * stride + v * 32;
      if (n == 16) return load_f16(from);
      uint16_t padded[16] = {};
      __builtin_memcpy(padded, from, 2 * n);
      return load_f16(padded);
    }
  };
};

struct CacheQ8 {
  struct Keys {
    f32x16 scale;
    const std::byte* codes;
    Keys() = default;
    GRETA_INLINE Keys(const std::byte* base, int64_t element)
        : scale(load_f16(base + q8_scale_at(element, 16))), codes(base + q8_code_at(element, 16)) {}
    GRETA_INLINE f32x16 read(int64_t d) const { return to_f32(load_i8(codes + d * 16)) * scale; }
  };
  static constexpr int64_t run(int64_t) { return kBlock; }
  struct Values {
    const std::byte* at;
    int64_t stride, second;  // whether one vector is a block's second
    GRETA_INLINE Values(const KvView& kv, int64_t element)
        : at(kv.values + q8_scale_at(element, 1)),
          stride(kv.head_dim / kBlock * 34),
          second(element % kBlock / 16) {}
    template <int kVectors>
    GRETA_INLINE f32x16 read(int64_t p, int v, int) const {
      const std::byte* block = at + p * stride + v / 2 * 34;
      const int64_t half = kVectors == 1 ? second : v % 2;
      return to_f32(load_i8(block + 2 + half * 16)) * broadcast_f16(block);
    }
  };
};

/// Calls body(cache) with the reader of the cache's format.
template <class Body>
GRETA_INLINE void with_cache(Format format, Body body) {
  if (format == Format::q8_0) return body(CacheQ8{});
  format == Format::f16 ? body(CacheF16{}) : body(CacheF32{});
}

/// The queries that share a kv head: query i is head g * group + i % group of row i / group.
struct Queries {
  const KernelArgs& args;
  int64_t kv_head, group;

  Queries(const KernelArgs& a, int64_t g) : args(a), kv_head(g), group(a.params.n_head / a.cache.n_head_kv) {}
  int64_t head(int64_t i) const { return kv_head * group + i % group; }
  int64_t own(int64_t i) const { return args.position + i / group; }  // its position: the last one it sees
  int64_t begin(int64_t i) const {                                    // the first one it sees
    const int64_t window = args.params.window, last = own(i);
    return window == 0 || last < window ? 0 : last - window + 1;
  }
};

/// The first position of its block of 16.
GRETA_INLINE int64_t block_of(int64_t position) { return position / 16 * 16; }

/// Scores of kRows queries from `first` for kBlocks * 16 positions from `position`, of which `n` are stored.
template <class Cache, int kRows, int kBlocks>
GRETA_INLINE void score_tile(const Queries& queries, int64_t first, int64_t position, float* out,
                             int64_t out_stride, int64_t n) {
  const KvView& kv = queries.args.cache;
  const int64_t head_dim = kv.head_dim;
  const float* q[kRows];
  for (int r = 0; r < kRows; ++r) {
    q[r] = queries.args.in[0].row((first + r) / queries.group) + queries.head(first + r) * head_dim;
  }
  f32x16 acc[kRows][kBlocks];
  GRETA_UNROLL(16)
  for (int r = 0; r < kRows; ++r) {
    GRETA_UNROLL(16)
    for (int b = 0; b < kBlocks; ++b) acc[r][b] = f32x16(0.0f);
  }
  const int64_t at = (queries.kv_head * (kv.capacity / 16) + position / 16) * head_dim * 16;
  const int64_t run = Cache::run(head_dim);
  for (int64_t from = 0; from < head_dim; from += run) {
    typename Cache::Keys keys[kBlocks];
    GRETA_UNROLL(16)
    for (int b = 0; b < kBlocks; ++b) keys[b] = {kv.keys, at + (b * head_dim + from) * 16};
    for (int64_t d = 0; d < run; ++d) {
      f32x16 key[kBlocks];
      GRETA_UNROLL(16)
      for (int b = 0; b < kBlocks; ++b) key[b] = keys[b].read(d);
      GRETA_UNROLL(16)
      for (int r = 0; r < kRows; ++r) {
        const f32x16 qd = broadcast(q[r] + from + d);
        GRETA_UNROLL(16)
        for (int b = 0; b < kBlocks; ++b) acc[r][b] = fma(key[b], qd, acc[r][b]);
      }
    }
  }
  const f32x16 scale(queries.args.params.scale), masked(kMasked);
  GRETA_UNROLL(16)
  for (int r = 0; r < kRows; ++r) {
    const int64_t seen = queries.own(first + r) + 1 - position, begin = queries.begin(first + r) - position;
    GRETA_UNROLL(16)
    for (int b = 0; b < kBlocks; ++b) {
      // A selection, not an addition: slots that nobody wrote may hold NaN.
      const mask16 visible = first_lanes(lanes_left(seen, b * 16));
      f32x16 score = select(visible, soft_capped(acc[r][b] * scale, queries.args.params.cap), masked);
      if (begin > b * 16) score = select(first_lanes(lanes_left(begin, b * 16)), masked, score);
      store_upto(out + r * out_stride + b * 16, score, lanes_left(n, b * 16));
    }
  }
}

/// Scores of kRows queries for positions [block_of(begin of the first), n).
template <class Cache, int kRows>
void score_rows(const Queries& queries, int64_t first, float* out, int64_t out_stride, int64_t n) {
  constexpr int kBlocks = kAttentionSums / kRows < 1   ? 1
                          : kAttentionSums / kRows > 4 ? 4
                                                       : kAttentionSums / kRows;
  const int64_t seen = smaller(n, queries.own(first + kRows - 1) + 1);  // of the last row, which sees most
  int64_t p = block_of(queries.begin(first));
  for (; p + kBlocks * 16 <= seen; p += kBlocks * 16) {
    score_tile<Cache, kRows, kBlocks>(queries, first, p, out + p, out_stride, n - p);
  }
  for (; p < seen; p += 16) score_tile<Cache, kRows, 1>(queries, first, p, out + p, out_stride, n - p);
  for (int r = 0; r < kRows; ++r) {
    for (int64_t i = p; i < n; ++i) out[r * out_stride + i] = kMasked;
  }
}

/// `rows` queries in tiles of kRows, then halves of it.
template <class Cache, int kRows>
void score_all(const Queries& queries, int64_t first, int64_t rows, float* out, int64_t out_stride,
               int64_t n) {
  int64_t r = 0;
  for (; r + kRows <= rows; r += kRows) {
    score_rows<Cache, kRows>(queries, first + r, out + r * out_stride, out_stride, n);
  }
  if constexpr (kRows > 1)
    score_all<Cache, kRows / 2>(queries, first + r, rows - r, out + r * out_stride, out_stride, n);
}

/// Of a row of scores: one head's of one token, after the other.
GRETA_INLINE float sink_of(const KernelArgs& args, int64_t row) {
  return args.bias == nullptr ? kMasked : args.bias[row % args.params.n_head];
}

/// Softmax of n scores, and of a sink (kMasked: none), whose share nobody gets; in and out may be the same.
void softmax_row(const float* in, float* out, int64_t n, float sink) {
  f32x16 top(sink);
  for (int64_t i = 0; i < n; i += 16) {
    const f32x16 v = load_upto(in + i, lanes_left(n, i), kMasked);
    top = select(less(top, v), v, top);
  }
  const f32x16 most(max_of(top));
  f32x16 sums(0.0f);
  for (int64_t i = 0; i < n; i += 16) {
    const int left = lanes_left(n, i);
    const f32x16 e = math::exp(load_upto(in + i, left, kMasked) - most);
    sums = sums + e;
    store_upto(out + i, e, left);
  }
  float sum = sum_tree(sums);
  if (sink != kMasked) sum += math::exp(sink - max_of(top));
  const f32x16 inverse(1.0f / sum);
  for (int64_t i = 0; i < n; i += 16) {
    const int left = lanes_left(n, i);
    store_upto(out + i, load_upto(out + i, left) * inverse, left);
  }
}

/// Adds positions [begin, end) to kVectors * 16 dims (of which `n` exist) of kRows outputs; `fresh`: to 0.
template <class Cache, int kRows, int kVectors>
GRETA_INLINE void mix_tile(const KvView& kv, int64_t value_at, int64_t begin, int64_t end, bool fresh,
                           const float* const (&weights)[kRows], float* const (&out)[kRows], int n) {
  f32x16 acc[kRows][kVectors];
  GRETA_UNROLL(16)
  for (int r = 0; r < kRows; ++r) {
    GRETA_UNROLL(16)
    for (int v = 0; v < kVectors; ++v) acc[r][v] = fresh ? f32x16(0.0f) : load_upto(out[r] + v * 16, n);
  }
  const typename Cache::Values values(kv, value_at);
  for (int64_t p = begin; p < end; ++p) {
    f32x16 value[kVectors];
    GRETA_UNROLL(16)
    for (int v = 0; v < kVectors; ++v) value[v] = values.template read<kVectors>(p, v, n);
    GRETA_UNROLL(16)
    for (int r = 0; r < kRows; ++r) {
      const f32x16 w = broadcast(weights[r] + p);
      GRETA_UNROLL(16)
      for (int v = 0; v < kVectors; ++v) acc[r][v] = fma(value[v], w, acc[r][v]);
    }
  }
  GRETA_UNROLL(16)
  for (int r = 0; r < kRows; ++r) {
    GRETA_UNROLL(16)
    for (int v = 0; v < kVectors; ++v) store_upto(out[r] + v * 16, acc[r][v], n);
  }
}

/// All dims of kRows outputs, positions [begin, end).
template <class Cache, int kRows>
void mix_dims(const Queries& queries, int64_t begin, int64_t end, bool fresh,
              const float* const (&weights)[kRows], float* const (&out)[kRows]) {
  const KvView& kv = queries.args.cache;
  const int64_t first = queries.kv_head * kv.capacity * kv.head_dim;
  int64_t d = 0;
  float* to[kRows];
  for (; d + kMixVectors * 16 <= kv.head_dim; d += kMixVectors * 16) {
    for (int r = 0; r < kRows; ++r) to[r] = out[r] + d;
    mix_tile<Cache, kRows, kMixVectors>(kv, first + d, begin, end, fresh, weights, to, 16);
  }
  for (; d < kv.head_dim; d += 16) {
    for (int r = 0; r < kRows; ++r) to[r] = out[r] + d;
    mix_tile<Cache, kRows, 1>(kv, first + d, begin, end, fresh, weights, to, lanes_left(kv.head_dim, d));
  }
}

/// kRows queries from `first`: what only one of them sees of the window's begin, what all see, and the rest.
template <class Cache, int kRows>
void mix_rows(const Queries& queries, int64_t first, const float* const (&weights)[kRows],
              float* const (&out)[kRows]) {
  // Of all rows: the last one begins last, the first one ends first.
  const int64_t end = queries.own(first) + 1, begin = smaller(queries.begin(first + kRows - 1), end);
  const auto alone = [&](int r, int64_t from, int64_t to, bool fresh) {
    const float* const one_weight[1] = {weights[r]};
    float* const one_out[1] = {out[r]};
    mix_dims<Cache, 1>(queries, from, to, fresh, one_weight, one_out);
  };
  for (int r = 0; begin > 0 && r < kRows; ++r)
    alone(r, smaller(queries.begin(first + r), begin), begin, true);
  mix_dims<Cache, kRows>(queries, begin, end, begin == 0, weights, out);
  for (int r = 1; r < kRows; ++r) {
    const int64_t seen = queries.own(first + r) + 1;
    if (seen > end) alone(r, larger(end, queries.begin(first + r)), seen, false);
  }
}

/// out of `rows` queries from `first`; weights of query first + r start at weights + r * stride.
template <class Cache, int kRows>
void mix_all(const Queries& queries, int64_t first, int64_t rows, const float* weights, int64_t stride) {
  const View& out = queries.args.out;
  int64_t i = 0;
  for (; i + kRows <= rows; i += kRows) {
    const float* w[kRows];
    float* to[kRows];
    for (int r = 0; r < kRows; ++r) {
      w[r] = weights + (i + r) * stride;
      to[r] = out.row((first + i + r) / queries.group) +
              queries.head(first + i + r) * queries.args.cache.head_dim;
    }
    mix_rows<Cache, kRows>(queries, first + i, w, to);
  }
  if constexpr (kRows > 1)
    mix_all<Cache, kRows / 2>(queries, first + i, rows - i, weights + i * stride, stride);
}

/// The queries of an op cut into units of one kv head and at most `tile` queries; unit u belongs to thread u
/// mod count, because later rows cost more.
template <class Body>
GRETA_INLINE void for_units(const KernelArgs& args, int64_t rows, int64_t tile, Part part, Body body) {
  const int64_t queries = rows * (args.params.n_head / args.cache.n_head_kv);
  const int64_t tiles = (queries + tile - 1) / tile;
  for (int64_t unit = part.index; unit < tiles * args.cache.n_head_kv; unit += part.count) {
    const int64_t first = unit / args.cache.n_head_kv * tile;
    body(Queries(args, unit % args.cache.n_head_kv), first, smaller(tile, queries - first));
  }
}

template <class Cache>
void qk_in(const KernelArgs& args, Part part) {
  // A kv head's queries are not evenly spaced in `out` from one token to the next: they go out one by one.
  for_units(args, args.in[0].rows, kAttentionRows, part,
            [&](const Queries& queries, int64_t first, int64_t rows) {
              for (int64_t i = first; i < first + rows; ++i) {
                float* out = args.out.row(i / queries.group * args.params.n_head + queries.head(i));
                for (int64_t p = 0; p < block_of(queries.begin(i)); ++p) out[p] = kMasked;
                score_rows<Cache, 1>(queries, i, out, 0, args.out.cols);
              }
            });
}

template <class Cache>
void pv_in(const KernelArgs& args, Part part) {
  for_units(
      args, args.out.rows, kAttentionRows, part, [&](const Queries& queries, int64_t first, int64_t rows) {
        for (int64_t i = first; i < first + rows; ++i) {
          const float* weights = args.in[0].row(i / queries.group * args.params.n_head + queries.head(i));
          mix_all<Cache, 1>(queries, i, 1, weights, 0);
        }
      });
}

/// A tile of queries: its scores, their softmax, the mix.
/// Tried: tiles of 16 queries that share chunks of 128 positions, a quarter of the reading of values. Same
/// bits; a prefill of 8192 made 192 for 197 tok/s (both at once), 377 for 409 (in turn): not kept.
template <class Cache>
void attention_in(const KernelArgs& args, Part part) {
  const int64_t rows = args.in[0].rows, group = args.params.n_head / args.cache.n_head_kv;
  const int64_t stride = round_up(args.position + rows, 16);
  int64_t tile = smaller(kAttentionRows, args.scratch.cols / stride);
  // Few queries: smaller tiles, so that every thread has some.
  if ((rows * group + tile - 1) / tile * args.cache.n_head_kv < 2 * part.count || tile < 1) tile = 1;
  float* scores = args.scratch.row(part.index);
  for_units(args, rows, tile, part, [&](const Queries& queries, int64_t first, int64_t count) {
    const int64_t n = queries.own(first + count - 1) + 1;
    score_all<Cache, kAttentionRows>(queries, first, count, scores, stride, n);
    for (int64_t r = 0; r < count; ++r) {
      const int64_t begin = block_of(queries.begin(first + r));
      const float sink = sink_of(args, queries.head(first + r));
      softmax_row(scores + r * stride + begin, scores + r * stride + begin, n - begin, sink);
    }
    mix_all<Cache, kMixRows>(queries, first, count, scores, stride);
  });
}

void qk(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("qk"));
  with_cache(args.cache.format, [&](auto cache) { qk_in<decltype(cache)>(args, part); });
}

void softmax(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("softmax"));
  const Part::Range rows = part.of(args.out.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r)
    softmax_row(args.in[0].row(r), args.out.row(r), args.out.cols, sink_of(args, r));
}

void pv(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("pv"));
  with_cache(args.cache.format, [&](auto cache) { pv_in<decltype(cache)>(args, part); });
}

void attention(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("attention"));
  with_cache(args.cache.format, [&](auto cache) { attention_in<decltype(cache)>(args, part); });
}

constexpr KernelEntry entry(const char* name, OpKind op, KernelFn run) {
  return {.name = name, .op = op, .run = run};
}

constexpr KernelEntry kEntries[] = {
    entry(GRETA_NAME("qk"), OpKind::qk, qk),
    entry(GRETA_NAME("softmax"), OpKind::softmax, softmax),
    entry(GRETA_NAME("pv"), OpKind::pv, pv),
    entry(GRETA_NAME("attention"), OpKind::attention, attention),
};

}  // namespace

extern const KernelList kAttentionKernels;
const KernelList kAttentionKernels{kEntries, sizeof(kEntries) / sizeof(kEntries[0])};

}  // namespace greta::GRETA_ISA
