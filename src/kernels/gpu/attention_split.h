#pragma once
// A decode step's attention over many positions, with the bits that RoPE, kv_write and attention leave in
// turn, in two kernels of many work-groups each. The scores: a work-group has a run of positions of a kv
// head, for all heads that share it; the one that has the step's own position puts its key and value into
// the cache. The mix: a work-group has some heads that share a kv head, by 32 dims: softmax, and the values
// in the order of positions. Keys and values of earlier steps are asked for before the kernel before has
// ended.

#include "kernels/gpu/attention.h"
#include "kernels/gpu/gate.h"

namespace greta::gpu::GRETA_FORM {

/// Items that come through stages of shared memory in turn; copy(item, to) begins an item's copies.
template <class Copy>
struct SplitStages {
  static constexpr int kStages = AttentionSplit::kStages;

  SharedAt memory;
  int items;
  Copy copy;

  GRETA_DEVICE SplitStages(std::byte* at, int count, Copy how) : memory(at), items(count), copy(how) {
#pragma unroll 1
    for (int item = 0; item < kStages; ++item) begin(item);
  }
  GRETA_DEVICE SharedAt at(int item) const {
    return memory + item % kStages * AttentionSplit(kWave).stage_bytes;
  }
  GRETA_DEVICE void begin(int item) const {
    if (item < items) copy(item, at(item));
    end_batch();
  }
  /// body(item, its bytes) for each in turn, by all threads.
  template <class Body>
  GRETA_DEVICE void for_items(Body body) const {
#pragma unroll 1
    for (int item = 0; item < items; ++item) {
      wait_for_batches<kStages - 1>();
      meet();
      body(item, at(item).bytes);
      meet();  // before the next copy overwrites what the others read
      begin(item + kStages);
    }
  }
};

struct SplitAttention {
  static constexpr AttentionSplit kShape{kWave};

  const Args &rope_q, &rope_k, &write, &attention;
  const KvView& kv;
  int own, begin, start;  // the step's position, the first one that it sees, and that one's block of 16
  int head_dim, group;    // group: heads that share a kv head

  explicit GRETA_DEVICE SplitAttention(const Args* parts)
      : rope_q(parts[0]), rope_k(parts[1]), write(parts[2]), attention(parts[3]), kv(attention.cache) {
    const int window = static_cast<int>(attention.params.window);
    own = static_cast<int>(*attention.position);
    begin = window == 0 || own < window ? 0 : own - window + 1;
    start = begin / kTeam * kTeam;
    head_dim = static_cast<int>(kv.head_dim);
    group = static_cast<int>(attention.params.n_head) / static_cast<int>(kv.n_head_kv);
  }

  /// A head's scores, from position `start` on.
  GRETA_DEVICE float* scores_of(int head) const {
    return reinterpret_cast<float*>(attention.scratch) + head * static_cast<int>(kv.capacity);
  }
};

/// By all threads; whole quads.
GRETA_DEVICE void copy_run(const SharedAt& to, const std::byte* from, int bytes) {
#pragma unroll 4
  for (int i = 16 * thread_index(); i < bytes; i += 16 * thread_count()) copy_quad(to + i, from + i);
}

template <class Cache>
struct SplitScores : SplitAttention {
  static constexpr int kBlockLanes = 2 * kTeam;  // a team for each of two heads

  int kv_head, from, to, positions;  // [from, to) is the work-group's; positions of a stage
  float *queries, *key;

  GRETA_DEVICE SplitScores(const Args* parts, std::byte* memory) : SplitAttention(parts) {
    kv_head = group_x();
    const unsigned blocks = static_cast<unsigned>((own - start) / kTeam + 1),
                   groups = static_cast<unsigned>(attention.groups);
    const int share = static_cast<int>((blocks + groups - 1) / groups) * kTeam;
    const int mine = share < kShape.kLeast ? kShape.kLeast : share;
    from = start + group_y() * mine;
    to = static_cast<int>(smaller(from + mine, own + 1));
    positions = kShape.stage_bytes / (head_dim * 4) / kTeam * kTeam;
    queries = reinterpret_cast<float*>(memory + kShape.ring_bytes());
    key = queries + group * kShape.pitch(head_dim);
  }

  GRETA_DEVICE void run(std::byte* memory) const {
    if (to <= from) return;
    const auto copy_keys = [this](int item, const SharedAt& at) {
      const int p = from + item * positions, count = counted(item);
      copy_run(at, kv.keys + Cache::bytes(keys_at(kv, kv_head, p)),
               static_cast<int>(Cache::bytes((count + kTeam - 1) / kTeam * kTeam * head_dim)));
    };
    const SplitStages stages(memory, (to - from + positions - 1) / positions, copy_keys);
    wait_for_previous();
    rotate();
    meet();
    if (has_own())
      put_key_value<Cache>(key, write.in[1].row(0) + kv_head * head_dim, write.cache, kv_head, own);
    stages.for_items([&](int item, std::byte* keys) {
      const int p = from + item * positions;
      if (p <= own && own < p + positions) {  // what was copied there was nobody's
        put<Cache>(key, head_dim, keys, (own - p) / kTeam * kTeam * head_dim + own % kTeam, kTeam);
        meet();
      }
      score(keys, p, counted(item));
    });
  }

 private:
  GRETA_DEVICE bool has_own() const { return to == own + 1; }
  GRETA_DEVICE int counted(int item) const {
    return static_cast<int>(smaller(positions, to - from - item * positions));
  }

  /// The queries, and the key where it is needed.
  GRETA_DEVICE void rotate() const {
    const int pairs = static_cast<int>(rope_q.params.rope_dims) / 2, left = head_dim - 2 * pairs;
    const int heads = group + (has_own() ? 1 : 0), pitch = kShape.pitch(head_dim);
    const auto source = [&](int h) {
      return h == group ? rope_k.in[0].row(0) + kv_head * head_dim
                        : rope_q.in[0].row(0) + (kv_head * group + h) * head_dim;
    };
    const float* table = rope_q.in[1].row(0);
    each_read<2>(
        heads * pairs, [&](int i) { return RopePair(rope_q.params, i % pairs, source(i / pairs), table); },
        [&](int i, const RopePair& pair) { pair.store(queries + i / pairs * pitch); });
    each(heads * left, [&](int64_t i) {
      const int h = static_cast<int>(i) / left, d = 2 * pairs + static_cast<int>(i) % left;
      queries[h * pitch + d] = source(h)[d];
    });
  }

  /// A team has 16 positions by every other head, two at a time.
  GRETA_DEVICE void score(const std::byte* keys, int first, int count) const {
    const int lane = lane_of_team(), pitch = kShape.pitch(head_dim);
#pragma unroll 1
    for (int block = thread_index() / kBlockLanes; block * kTeam < count;
         block += kRowThreads / kBlockLanes) {
      const int at = block * kTeam * head_dim + lane, i = block * kTeam + lane, p = first + i;
#pragma unroll 1
      for (int h = thread_index() / kTeam % 2; h < group; h += 4) {
        const bool both = h + 2 < group;
        const float *a = queries + h * pitch, *b = both ? a + 2 * pitch : a;
        float sums[2] = {};
#pragma unroll 4
        for (int d = 0; d < head_dim; d += 4) {
          float x[4], y[4];
          read_4(a + d, x);
          read_4(b + d, y);
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            const float k = Cache::read(keys, at + (d + j) * kTeam, kTeam);
            sums[0] = math::fma(k, x[j], sums[0]);
            sums[1] = math::fma(k, y[j], sums[1]);
          }
        }
        if (i >= count) continue;
        keep(kv_head * group + h, p, sums[0]);
        if (both) keep(kv_head * group + h + 2, p, sums[1]);
      }
    }
  }
  GRETA_DEVICE void keep(int head, int p, float sum) const {
    scores_of(head)[p - start] = begin <= p ? sum * attention.params.scale : kMasked;
  }
};

template <class Cache>
struct SplitMix : SplitAttention {
  // A thread has a head and a dim, or in softmax every 32nd position of the head.
  int kv_head, head, first_dim, dim, dims;  // `head` of those that share the kv head
  bool has_head;                            // of all threads of a team alike
  int pitch, positions;                     // of a stage: elements from row to row
  float* weights;

  GRETA_DEVICE SplitMix(const Args* parts, std::byte* memory) : SplitAttention(parts) {
    const int capacity = static_cast<int>(kv.capacity), heads = AttentionSplit(kWave).heads(capacity, group);
    const int slot = thread_index() / kShape.kDims;
    dims = kShape.dims(head_dim);
    kv_head = group_x() / (head_dim / dims);
    head = group_y() * heads + slot;
    first_dim = group_x() % (head_dim / dims) * dims;
    dim = thread_index() % kShape.kDims;
    has_head = slot < heads && head < group;
    pitch = Cache::kBlocks ? head_dim : kShape.kDims;  // blocks are copied whole
    positions = kShape.stage_bytes / (pitch * 4) / kTeam * kTeam;
    weights = reinterpret_cast<float*>(memory + kShape.ring_bytes()) + slot * capacity;
  }

  GRETA_DEVICE void run(std::byte* memory) const {
    const SplitStages stages(memory, (own - start + positions - 1) / positions,
                             [this](int item, const SharedAt& at) { copy_values(item, at); });
    GRETA_SHARED(float, mixed, kRowThreads);
    wait_for_previous();
    const int d = first_dim + dim, in_row = Cache::kBlocks ? d : dim;
    const bool mine = has_head && dim < dims;
    const float last = mine ? Cache::read(kv.values, values_at(kv, kv_head, own) + d, 1) : 0.0f;
    const float inverse = make_exponentials();
    float sum = 0;
    stages.for_items([&](int item, const std::byte* values) {
      const int p = item * positions, end = static_cast<int>(smaller(positions, own - start - p));
      if (mine) sum = mix(values, in_row, weights + p, inverse, item == 0 ? begin - start : 0, end, sum);
    });
    if (mine) mixed[thread_index()] = math::fma(last, weights[own - start] * inverse, sum);
    meet();
    store(mixed);
  }

 private:
  GRETA_DEVICE void copy_values(int item, const SharedAt& to) const {
    const int p = start + item * positions;
    const int count = (static_cast<int>(smaller(positions, own - p)) + kTeam - 1) / kTeam * kTeam;
    const std::byte* from = kv.values + Cache::bytes(values_at(kv, kv_head, p));
    if constexpr (Cache::kBlocks) {
      copy_run(to, from, static_cast<int>(Cache::bytes(count * head_dim)));
    } else {
      const int quads = static_cast<int>(Cache::bytes(dims)) / 16,
                row = static_cast<int>(Cache::bytes(pitch)),
                stride = static_cast<int>(Cache::bytes(head_dim));
      from += Cache::bytes(first_dim);
#pragma unroll 4
      for (int i = thread_index(); i < count * quads; i += thread_count())
        copy_quad(to + (i / quads * row + i % quads * 16), from + i / quads * stride + i % quads * 16);
    }
  }

  /// The head's exponentials; 1 / their sum. All threads call it.
  GRETA_DEVICE float make_exponentials() const {
    constexpr int kTeams = kRowThreads / kTeam, kApart = AttentionSplit::kDims;
    GRETA_SHARED(float, tops, kTeams);
    const int n = has_head ? own + 1 - start : 0;
    const std::byte* scores = reinterpret_cast<const std::byte*>(scores_of(kv_head * group + head));
    const SharedAt to(reinterpret_cast<std::byte*>(weights));
#pragma unroll 4
    for (int i = 16 * dim; i < 4 * n; i += 16 * kApart) copy_quad(to + i, scores + i);
    end_batch();
    wait_for_batches<0>();
    meet();
    float top = kMasked;
#pragma unroll 8
    for (int i = dim; i < n; i += kApart) top = larger(top, weights[i]);
    top = most_of_team(top);
    if (lane_of_team() == 0) tops[thread_index() / kTeam] = top;
    meet();
    top = larger(top, tops[thread_index() / kTeam ^ 1]);
#pragma unroll 4
    for (int i = dim; i < n; i += kApart) weights[i] = math::exp(weights[i] - top);
    meet();
    float sum = 0;
#pragma unroll 8
    for (int i = lane_of_team(); i < n; i += kTeam) sum += weights[i];
    return 1.0f / sum_tree(sum);
  }

  /// A few positions' values and exponentials of the thread, read while those before are added.
  struct Few {
    static constexpr int kCount = 8;
    float values[kCount], weights[kCount];

    GRETA_DEVICE Few(const std::byte* from, int element, int apart, const float* exponentials) {
      read_4(exponentials, weights);
      read_4(exponentials + 4, weights + 4);
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] = Cache::read(from, element + i * apart, 1);
    }
    GRETA_DEVICE float add_to(float sum, float inverse) const {
#pragma unroll
      for (int i = 0; i < kCount; ++i) sum = math::fma(values[i], weights[i] * inverse, sum);
      return sum;
    }
  };

  /// sum + weights x values of positions [from, to) of a stage, in order.
  GRETA_DEVICE float mix(const std::byte* values, int in_row, const float* exponentials, float inverse,
                         int from, int to, float sum) const {
    const int apart = Cache::kBlocks ? pitch : AttentionSplit::kDims;
    const auto add = [&](int i) {
      sum = math::fma(Cache::read(values, i * apart + in_row, 1), exponentials[i] * inverse, sum);
    };
    const auto few = [&](int i) { return Few(values, i * apart + in_row, apart, exponentials + i); };
    int i = from;
    for (; i < to && i % Few::kCount != 0; ++i) add(i);
    if (i + Few::kCount <= to) {
      Few next = few(i);
#pragma unroll 2  // or what was read would be moved
      for (i += Few::kCount; i + Few::kCount <= to; i += Few::kCount) {
        const Few now = next;
        next = few(i);
        sum = now.add_to(sum, inverse);
      }
      sum = next.add_to(sum, inverse);
    }
    for (; i < to; ++i) add(i);
    return sum;
  }

  GRETA_DEVICE void store(const float* mixed) const {
    const int heads = AttentionSplit(kWave).heads(static_cast<int>(kv.capacity), group),
              first = group_y() * heads;
#pragma unroll 1
    for (int slot = 0; slot < heads && first + slot < group; ++slot) {
      const int64_t at = int64_t{kv_head * group + first + slot} * head_dim + first_dim;
      store_row(attention, 0, {at, at + dims},
                [=](int64_t d) { return mixed[slot * kShape.kDims + static_cast<int>(d - at)]; });
    }
  }
};

GRETA_DEVICE void split_scores(const Args* parts) {
  with_cache(parts[3].cache.format, [&](auto cache) {
    [[maybe_unused]] const KvView& kv = parts[3].cache;
    [[maybe_unused]] const int group = static_cast<int>(parts[3].params.n_head / kv.n_head_kv);
    GRETA_SHARED_BESIDE(memory, AttentionSplit(kWave).scores_bytes(static_cast<int>(kv.head_dim), group));
    SplitScores<decltype(cache)>(parts, memory).run(memory);
  });
}

GRETA_DEVICE void split_mix(const Args* parts) {
  with_cache(parts[3].cache.format, [&](auto cache) {
    [[maybe_unused]] const KvView& kv = parts[3].cache;
    [[maybe_unused]] const int group = static_cast<int>(parts[3].params.n_head / kv.n_head_kv);
    GRETA_SHARED_BESIDE(memory, AttentionSplit(kWave).mix_bytes(static_cast<int>(kv.capacity), group));
    SplitMix<decltype(cache)>(parts, memory).run(memory);
  });
}

}  // namespace greta::gpu::GRETA_FORM
