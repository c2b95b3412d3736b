#pragma once
// A decode step's attention whole: RoPE of the query and of the key, the cache's new slot, and attention of
// the one row, with the bits that the four kernels leave in turn. A work-group has a query head. Keys and
// values stream through a ring in shared memory, as they are stored; those of earlier steps are asked for
// before the kernel before this one has ended. All scores are held at once.

#include "kernels/gpu/attention.h"
#include "kernels/gpu/gate.h"

namespace greta::gpu::GRETA_FORM {

/// Chunks of positions of a head, first their keys, then their values, through a ring of stages.
template <class Cache>
struct KvStream {
  static constexpr AttentionStep kShape{kWave};

  const KvView& kv;
  SharedAt ring;
  int64_t head, begin, end;  // positions; the first one is a multiple of a team
  int positions, chunks;     // of a chunk; of keys or of values

  GRETA_DEVICE KvStream(const KvView& of, std::byte* memory, int64_t of_head, int64_t from, int64_t to)
      : kv(of),
        ring(memory),
        head(of_head),
        begin(from),
        end(to),
        positions(AttentionStep(kWave).positions(static_cast<int>(of.head_dim))),
        chunks((static_cast<int>(to - from) + positions - 1) / positions) {}

  GRETA_DEVICE int64_t first(int item) const {
    return begin + (item < chunks ? item : item - chunks) * positions;
  }
  GRETA_DEVICE const std::byte* at(int item) const {
    return ring.bytes + item % kShape.stages * kShape.stage_bytes;
  }
  /// Whole blocks of 16 positions: what lies beyond the last one is read by nobody. (Another work-group may
  /// be writing the step's own slot there.)
  GRETA_DEVICE void begin_copy(int item) const {
    if (item < 2 * chunks) {
      const int64_t p = first(item), count = smaller(positions, (end - p + kTeam - 1) / kTeam * kTeam);
      const std::byte* from = item < chunks ? kv.keys + Cache::bytes(keys_at(kv, head, p))
                                            : kv.values + Cache::bytes(values_at(kv, head, p));
      const int bytes = static_cast<int>(Cache::bytes(count * kv.head_dim));
      const SharedAt to = ring + item % kShape.stages * kShape.stage_bytes;
#pragma unroll 4
      for (int i = 16 * thread_index(); i < bytes; i += 16 * thread_count()) copy_open_quad(to + i, from + i);
    }
    end_batch();
  }
  /// body(item) for each in turn, by all threads.
  template <class Body>
  GRETA_DEVICE void for_items(int from, int to, Body body) const {
#pragma unroll 1
    for (int item = from; item < to; ++item) {
      wait_for_batches<kShape.stages - 1>();
      meet();
      body(item);
      meet();  // before the next copy overwrites what the others read
      begin_copy(item + kShape.stages);
    }
  }
};

/// The scores of a chunk of keys, a thread a position. The step's own key is not among them.
template <class Cache>
GRETA_DEVICE void score_chunk(const KvStream<Cache>& keys, int item, const float* q, const Span& visible,
                              float scale, float* scores) {
  const int64_t first = keys.first(item);
  const int head_dim = static_cast<int>(keys.kv.head_dim);
  each(smaller(keys.positions, keys.end - first), [&](int64_t i) {
    const int at = static_cast<int>(i / kTeam) * head_dim * kTeam + static_cast<int>(i % kTeam);
    float sum = 0;
#pragma unroll 16
    for (int d = 0; d < head_dim; ++d)
      sum = math::fma(Cache::read(keys.at(item), at + d * kTeam, kTeam), q[d], sum);
    const int64_t p = first + i;
    scores[p - keys.begin] = visible.begin <= p && p < visible.end ? sum * scale : kMasked;
  });
}

/// Adds a chunk of values, in order, to a dim of the mix.
template <class Cache>
GRETA_DEVICE float mix_chunk(const KvStream<Cache>& values, int item, int d, const Span& visible,
                             const float* weights, float sum) {
  const int64_t first = values.first(item);
  const int head_dim = static_cast<int>(values.kv.head_dim);
  const int from = first < visible.begin ? static_cast<int>(visible.begin - first) : 0,
            to = static_cast<int>(smaller(values.positions, visible.end - first));
  const float* w = weights + (first - values.begin);
#pragma unroll 8
  for (int i = from; i < to; ++i)
    sum = math::fma(Cache::read(values.at(item), i * head_dim + d, 1), w[i], sum);
  return sum;
}

struct StepAttention {
  const Args &rope_q, &rope_k, &write, &attention;
  int64_t own, begin;  // the step's position, and the first one that it sees
  int64_t head, kv_head;
  int group;  // heads that share a kv head

  explicit GRETA_DEVICE StepAttention(const Args* parts)
      : rope_q(parts[0]), rope_k(parts[1]), write(parts[2]), attention(parts[3]) {
    const int64_t window = attention.params.window;
    own = *attention.position;
    begin = window == 0 || own < window ? 0 : own - window + 1;
    head = group_x();
    group = static_cast<int>(attention.params.n_head) / static_cast<int>(attention.cache.n_head_kv);
    kv_head = static_cast<int>(head) / group;
  }

  template <class Cache>
  GRETA_DEVICE void run() const {
    const KvView& kv = attention.cache;
    const int64_t head_dim = kv.head_dim, at = head * head_dim;
    constexpr AttentionStep kShape(kWave);
    GRETA_SHARED_BESIDE(memory, kShape.bytes(kv.capacity));
    float* const q = reinterpret_cast<float*>(memory + kShape.rows_at());
    float *const rotated = q + kMostHeadDim, *const key = rotated + kMostHeadDim,
                 *const value = key + kMostHeadDim;
    float* const scores = reinterpret_cast<float*>(memory + kShape.scores_at());
    const int64_t start = begin / kTeam * kTeam;
    const KvStream<Cache> stream(kv, memory, kv_head, start, own);
#pragma unroll 1
    for (int item = 0; item < kShape.stages; ++item) stream.begin_copy(item);
    wait_for_previous();
    make_rows<Cache>(q, rotated, key, value);

    const Span earlier{begin, own};
    const float scale = attention.params.scale;
    if (stream.chunks == 0) score_own(q, key, scores + (own - start));
    stream.for_items(0, stream.chunks, [&](int item) {
      score_chunk(stream, item, q, earlier, scale, scores);
      if (item == 0) score_own(q, key, scores + (own - start));
    });
    meet();
    make_weights(scores, own + 1 - start);

    float mixed[kMostHeadDim / kRowThreads] = {};
    stream.for_items(stream.chunks, 2 * stream.chunks, [&](int item) {
      each_dim([&](int i, int d) { mixed[i] = mix_chunk(stream, item, d, earlier, scores, mixed[i]); });
    });
    each_dim([&](int i, int d) { q[d] = math::fma(value[d], scores[own - start], mixed[i]); });
    meet();
    store_row(attention, 0, {at, at + head_dim}, [=](int64_t d) { return q[d - at]; });
  }

 private:
  /// The query and the key rotated, key and value as the cache holds them; and into the cache, by one of the
  /// work-groups that share them.
  template <class Cache>
  GRETA_DEVICE void make_rows(float* q, float* rotated, float* key, float* value) const {
    const int64_t head_dim = attention.cache.head_dim, kv_at = kv_head * head_dim;
    const float* v = write.in[1].row(0) + kv_at;
    rope_head(rope_q.params, rope_q.in[0].row(0) + head * head_dim, rope_q.in[1].row(0), q);
    rope_head(rope_k.params, rope_k.in[0].row(0) + kv_at, rope_k.in[1].row(0), rotated);
    meet();
    put_and_read<Cache>(rotated, head_dim, key);
    put_and_read<Cache>(v, head_dim, value);
    if (head == kv_head * group) put_key_value<Cache>(rotated, v, write.cache, kv_head, own);
    meet();
  }

  /// The score of the step's own key, by the last thread: it has the least to do besides.
  GRETA_DEVICE void score_own(const float* q, const float* key, float* score) const {
    if (thread_index() != kRowThreads - 1) return;
    float sum = 0;
#pragma unroll 16
    for (int d = 0; d < attention.cache.head_dim; ++d) sum = math::fma(key[d], q[d], sum);
    *score = sum * attention.params.scale;
  }

  /// Softmax of n scores.
  GRETA_DEVICE void make_weights(float* scores, int64_t n) const {
    float top = kMasked, sum = 0;
    each(n, [&](int64_t i) { top = top < scores[i] ? scores[i] : top; });
    top = most_of_group(top);
    each(n, [&](int64_t i) { scores[i] = math::exp(scores[i] - top); });
    meet();
    add_to_sums(scores, n, sum);
    const float inverse = inverse_of(sum);
    each(n, [&](int64_t i) { scores[i] *= inverse; });
    meet();
  }

  /// body(i, d) for this thread's dims.
  template <class Body>
  GRETA_DEVICE void each_dim(Body body) const {
#pragma unroll
    for (int i = 0; i < kMostHeadDim / kRowThreads; ++i) {
      const int d = i * kRowThreads + thread_index();
      if (d < attention.cache.head_dim) body(i, d);
    }
  }
};

GRETA_DEVICE void step_attention(const Args* parts) {
  const StepAttention step(parts);
  with_cache(parts[3].cache.format, [&](auto cache) { step.run<decltype(cache)>(); });
}

}  // namespace greta::gpu::GRETA_FORM
