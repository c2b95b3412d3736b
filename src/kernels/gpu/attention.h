#pragma once
// qk, softmax, pv, and attention: the three fused, with the CPU's orders (kernels/cpu/attention.h) and so its
// bits. A work-group has a query of a head.

#include "kernels/gpu/kv.h"

namespace greta::gpu::GRETA_FORM {

GRETA_DEVICE void read_4(const float* from, float* to) {
  const Quad quad = load<Quad>(reinterpret_cast<const std::byte*>(from));
#pragma unroll
  for (int i = 0; i < 4; ++i) to[i] = __builtin_bit_cast(float, quad.words[i]);
}
GRETA_DEVICE void write_4(float* to, const float* from) {
  Quad quad;
#pragma unroll
  for (int i = 0; i < 4; ++i) quad.words[i] = __builtin_bit_cast(uint32_t, from[i]);
  *reinterpret_cast<Quad*>(to) = quad;
}

inline constexpr float kMasked = -__builtin_inff();
inline constexpr int kChunk = 2048;  // positions whose scores are held at once; a multiple of a team

/// The query of this work-group.
struct Query {
  const Args& args;
  int64_t row, head, kv_head;

  explicit GRETA_DEVICE Query(const Args& a) : args(a) {
    row = group_x() / a.params.n_head;
    head = group_x() % a.params.n_head;
    kv_head = head / (a.params.n_head / a.cache.n_head_kv);
  }
  /// The position that it has, the last one it sees, and the first one.
  GRETA_DEVICE int64_t own() const { return *args.position + row; }
  GRETA_DEVICE int64_t begin() const {
    const int64_t window = args.params.window;
    return window == 0 || own() < window ? 0 : own() - window + 1;
  }

  template <class Cache>
  GRETA_DEVICE float score(int64_t position) const {
    if (position > own() || position < begin()) return kMasked;
    const KvView& kv = args.cache;
    const float* q = args.in[0].row(row) + head * kv.head_dim;
    const int64_t first = keys_at(kv, kv_head, position) + position % kTeam;
    float sum = 0;
#pragma unroll 16
    for (int64_t d = 0; d < kv.head_dim; ++d)
      sum = math::fma(Cache::read(kv.keys, first + d * kTeam, kTeam), q[d], sum);
    return sum * args.params.scale;
  }

  /// out += weights x values of positions [from, to), in order; weights[0] is position `from`'s.
  template <class Cache>
  GRETA_DEVICE void mix(const float* weights, int64_t from, int64_t to, bool fresh, float* out) const {
    const KvView& kv = args.cache;
    each(kv.head_dim, [&](int64_t d) {
      float sum = fresh ? 0.0f : out[d];
#pragma unroll 16
      for (int64_t p = from; p < to; ++p) {
        const int64_t element = values_at(kv, kv_head, p) + d;
        sum = math::fma(Cache::read(kv.values, element, 1), weights[p - from], sum);
      }
      out[d] = sum;
    });
  }
};

// Softmax in steps, each by the whole work-group over a run of scores that begins at a multiple of a team.

/// The largest of what every thread has found.
GRETA_DEVICE float most_of_group(float mine) {
  constexpr int kTeams = kRowThreads / kTeam;
  GRETA_SHARED(float, most, kTeams);
  mine = most_of_team(mine);
  if (lane_of_team() == 0) most[thread_index() / kTeam] = mine;
  meet();
  float top = most[0];
  for (int i = 1; i < kTeams; ++i) top = top < most[i] ? most[i] : top;
  return top;
}

/// Adds a run's exponentials to the 16 sums, of which each lane of the first team has one.
GRETA_DEVICE void add_to_sums(const float* exponentials, int64_t n, float& sum) {
  if (thread_index() >= kTeam) return;
#pragma unroll 8
  for (int64_t i = lane_of_team(); i < n; i += kTeam) sum += exponentials[i];
}

/// 1 / the 16 sums together, for all threads.
GRETA_DEVICE float inverse_of(float sum) {
  GRETA_SHARED(float, inverse, 1);
  if (thread_index() < kWave) {
    const float total = sum_tree(sum);
    if (thread_index() == 0) inverse[0] = 1.0f / total;
  }
  meet();
  return inverse[0];
}

GRETA_DEVICE void softmax(const Args& args) {
  const float* in = args.in[0].row(group_x());
  float* out = args.out.row(group_x());
  const int64_t n = args.out.cols;
  float top = kMasked, sum = 0;
  each(n, [&](int64_t i) { top = top < in[i] ? in[i] : top; });
  top = most_of_group(top);
  each(n, [&](int64_t i) { out[i] = math::exp(in[i] - top); });
  meet();
  add_to_sums(out, n, sum);
  const float inverse = inverse_of(sum);
  each(n, [&](int64_t i) { out[i] *= inverse; });
}

GRETA_DEVICE void qk(const Args& args) {
  const Query query(args);
  with_cache(args.cache.format, [&](auto cache) {
    float* out = args.out.row(group_x());
    each(args.out.cols, [&](int64_t p) { out[p] = query.score<decltype(cache)>(p); });
  });
}

GRETA_DEVICE void pv(const Args& args) {
  const Query query(args);
  const int64_t begin = query.begin();
  with_cache(args.cache.format, [&](auto cache) {
    query.mix<decltype(cache)>(args.in[0].row(group_x()) + begin, begin, query.own() + 1, true,
                               args.out.row(query.row) + query.head * args.cache.head_dim);
  });
}

/// Scores are held a chunk at a time. More than one chunk, and each pass makes them anew.
template <class Cache>
GRETA_DEVICE void attention_in(const Args& args) {
  GRETA_SHARED(float, scores, kChunk);
  const Query query(args);
  const int64_t head_dim = args.cache.head_dim, at = query.head * head_dim;
  const int64_t begin = query.begin() / kTeam * kTeam, end = query.own() + 1;
  // Rows that are rounded are made here first.
  const bool rounds = args.out.format != Format::f32;
  GRETA_SHARED(float, mixed, kMostHeadDim);
  float* out = rounds ? mixed : args.out.row(query.row) + at;
  const bool once = end - begin <= kChunk;
  const auto for_chunks = [&](auto body) {
    for (int64_t p = begin; p < end; p += kChunk) body(p, smaller(kChunk, end - p));
  };
  const auto make_scores = [&](int64_t p, int64_t n) {
    each(n, [&](int64_t i) { scores[i] = query.score<Cache>(p + i); });
  };
  float top = kMasked, sum = 0;
  for_chunks([&](int64_t p, int64_t n) {
    make_scores(p, n);
    each(n, [&](int64_t i) { top = top < scores[i] ? scores[i] : top; });
  });
  top = most_of_group(top);
  const auto make_exponentials = [&](int64_t n) {
    each(n, [&](int64_t i) { scores[i] = math::exp(scores[i] - top); });
    meet();
  };
  for_chunks([&](int64_t p, int64_t n) {
    if (!once) make_scores(p, n);
    make_exponentials(n);
    add_to_sums(scores, n, sum);
    meet();
  });
  const float inverse = inverse_of(sum);
  for_chunks([&](int64_t p, int64_t n) {
    if (!once) {
      make_scores(p, n);
      make_exponentials(n);
    }
    each(n, [&](int64_t i) { scores[i] *= inverse; });
    meet();
    const int64_t from = p == begin ? query.begin() : p;
    query.mix<Cache>(scores + (from - p), from, p + n, p == begin, out);
    meet();
  });
  if (rounds) store_row(args, query.row, {at, at + head_dim}, [=](int64_t d) { return mixed[d - at]; });
}

GRETA_DEVICE void attention(const Args& args) {
  with_cache(args.cache.format, [&](auto cache) { attention_in<decltype(cache)>(args); });
}

}  // namespace greta::gpu::GRETA_FORM
