#pragma once
// Attention of many rows. A work-group has a tile of queries that share a kv head, and reads keys and values
// once for all of them: scores of the whole tile first, which its part of args.scratch holds; then softmax, a
// team a query; then the mix. A thread has a run of queries by 8 positions or dims. Orders and bits are
// attention.h's.

#include "kernels/gpu/attention.h"
#include "kernels/gpu/gate.h"

namespace greta::gpu::GRETA_FORM {

template <class Cache, bool kMany>
class TileAttention {
 public:
  static constexpr AttentionTile kShape{kWave, kMany};
  static constexpr int kQueries = kShape.queries, kRun = kShape.run, kRuns = kQueries / kRun;
  static constexpr int kPositions = AttentionTile::kPositions;

  GRETA_DEVICE TileAttention(const Args& of, std::byte* memory, float* sums, int64_t tile,
                             int64_t head_of_cache)
      : args(of),
        kv(of.cache),
        q(reinterpret_cast<float*>(memory)),
        stages(SharedAt(memory +
                        AttentionTile(kWave, kMany).queries_bytes(static_cast<int>(of.cache.head_dim)))),
        kv_head(head_of_cache),
        group(static_cast<int>(of.params.n_head / of.cache.n_head_kv)),
        first(static_cast<int>(tile) * kQueries),
        head_dim(static_cast<int>(of.cache.head_dim)),
        pitch(head_dim < kShape.kDims ? head_dim : kShape.kDims),
        tops(sums),
        inverses(sums + kQueries) {
    count = static_cast<int>(smaller(kQueries, of.in[0].rows * group - first));
    position = *of.position;
    start = begin_of(0) / kTeam * kTeam;
    end = own_of(count - 1) + 1;
    stride = AttentionTile::stride(of.cache.capacity);
    scores = reinterpret_cast<float*>(of.scratch) + group_y() * kQueries * stride;
    run = thread_index() % kRuns, part = thread_index() / kRuns;
  }

  GRETA_DEVICE void operator()() {
    read_queries();
    make_scores();
    make_exponentials();
    for (int d = 0; d < head_dim; d += kShape.kDims) mix(d);
    meet();  // before the next tile's queries
  }

 private:
  // Of query i of the tile; beyond the last one: of that one.
  GRETA_DEVICE int query(int i) const { return first + (i < count ? i : count - 1); }
  GRETA_DEVICE int row_of(int i) const { return query(i) / group; }
  GRETA_DEVICE int64_t column_of(int i) const { return (kv_head * group + query(i) % group) * head_dim; }
  GRETA_DEVICE int64_t own_of(int i) const { return position + row_of(i); }
  GRETA_DEVICE int64_t begin_of(int i) const {
    const int64_t window = args.params.window, own = own_of(i);
    return window == 0 || own < window ? 0 : own - window + 1;
  }
  /// The thread's query j: four here and there, so that a wave's reads meet in no bank.
  GRETA_DEVICE int own_query(int j) const { return j / 4 * (4 * kRuns) + 4 * run + j % 4; }
  /// Whether all queries see all positions of [from, to).
  GRETA_DEVICE bool all_see(int64_t from, int64_t to) const {
    return begin_of(count - 1) <= from && to <= own_of(0) + 1;
  }

  /// What lies in q at [k][query] for this thread's queries.
  GRETA_DEVICE void read_own(int k, float (&to)[kRun]) const {
#pragma unroll
    for (int j = 0; j < kRun; j += 4) read_4(q + k * kQueries + own_query(j), to + j);
  }

  /// q[d][query].
  GRETA_DEVICE void read_queries() {
    for (int i = thread_index(); i < kQueries * head_dim / 4; i += thread_count()) {
      const int of = i % kQueries, d = i / kQueries * 4;
      float four[4];
      read_4(args.in[0].row(row_of(of)) + column_of(of) + d, four);
#pragma unroll
      for (int j = 0; j < 4; ++j) q[(d + j) * kQueries + of] = four[j];
    }
  }

  GRETA_DEVICE SharedAt stage(int item) const { return stages + item % kShape.stages * kShape.stage_bytes; }

  /// Calls begin(item) for each in turn, some ahead, then body(item) once its copies are there.
  template <class Begin, class Body>
  GRETA_DEVICE void stream(int items, Begin begin, Body body) const {
    constexpr int kAhead = kShape.stages - 1;
    const auto ask = [&](int item) {
      if (item < items) begin(item);
      end_batch();
    };
    for (int item = 0; item < kAhead; ++item) ask(item);
    for (int item = 0; item < items; ++item) {
      ask(item + kAhead);
      wait_for_batches<kAhead>();
      meet();
      body(item);
      meet();  // before a copy overwrites what the others read
    }
  }

  GRETA_DEVICE void make_scores() {
    const int parts = (head_dim + kShape.stage_dims - 1) / kShape.stage_dims;
    const int chunks = static_cast<int>((end - start + kPositions - 1) / kPositions);
    float sum[kRun][8], top[kRun];
#pragma unroll
    for (int j = 0; j < kRun; ++j) top[j] = kMasked;
    stream(
        chunks * parts, [&](int item) { copy_keys(item, item / parts, item % parts * kShape.stage_dims); },
        [&](int item) {
          const int d = item % parts * kShape.stage_dims;
          if (d == 0) {
#pragma unroll
            for (int j = 0; j < 8 * kRun; ++j) sum[j / 8][j % 8] = 0;
          }
          add_keys(item, d, sum);
          if (item % parts != parts - 1) return;
          const int64_t chunk = start + item / parts * kPositions;
          if (all_see(chunk, chunk + kPositions)) {
            keep_scores<true>(chunk, sum, top);
          } else {
            keep_scores<false>(chunk, sum, top);
          }
        });
    join_tops(top);
  }

  GRETA_DEVICE int dims_from(int d) const {
    return static_cast<int>(smaller(kShape.stage_dims, head_dim - d));
  }

  /// Dims [d, ..) of a chunk's keys, by blocks of 16 positions.
  GRETA_DEVICE void copy_keys(int item, int chunk, int d) const {
    const int bytes = static_cast<int>(Cache::bytes(dims_from(d) * kTeam));
    const int64_t block_bytes = Cache::bytes(head_dim * kTeam);
    const int64_t p = start + chunk * kPositions;
    const std::byte* from = kv.keys + Cache::bytes(keys_at(kv, kv_head, p)) + Cache::bytes(d * kTeam);
    const int blocks = static_cast<int>(smaller(kPositions, end - p) + kTeam - 1) / kTeam;
    const int quads = bytes / 16;
    for (int i = thread_index(); i < blocks * quads; i += thread_count()) {
      const int block = i / quads, byte = i % quads * 16;
      copy_quad(stage(item) + (block * bytes + byte), from + block * block_bytes + byte);
    }
  }

  GRETA_DEVICE void add_keys(int item, int d, float (&sum)[kRun][8]) const {
    const int dims = dims_from(d);
    const std::byte* keys = stage(item).bytes + part / 2 * static_cast<int>(Cache::bytes(dims * kTeam));
#pragma unroll 2
    for (int i = 0; i < dims; ++i) {
      float key[8], own[kRun];
      Cache::read_8(keys, i * kTeam + part % 2 * 8, kTeam, key);
      read_own(d + i, own);
#pragma unroll
      for (int j = 0; j < 8 * kRun; ++j)
        sum[j / 8][j % 8] = math::fma(key[j % 8], own[j / 8], sum[j / 8][j % 8]);
    }
  }

  /// To scratch; those of positions that a query does not see are masked.
  template <bool kAllSee>
  GRETA_DEVICE void keep_scores(int64_t chunk, float (&sum)[kRun][8], float (&top)[kRun]) const {
    const int from = static_cast<int>(chunk - start) + 8 * part;
#pragma unroll
    for (int j = 0; j < kRun; ++j) {
      const int of = own_query(j);
      int begin = 0, own = 0;
      if constexpr (!kAllSee) {
        begin = static_cast<int>(begin_of(of) - start), own = static_cast<int>(own_of(of) - start);
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        sum[j][i] *= args.params.scale;
        if (!kAllSee && (from + i < begin || own < from + i)) sum[j][i] = kMasked;
        top[j] = larger(top[j], sum[j][i]);
      }
      float* to = scores + of * stride + from;
      write_4(to, sum[j]);
      write_4(to + 4, sum[j] + 4);
    }
  }

  /// The largest score of each query, from all threads that have some, in the place of the queries.
  GRETA_DEVICE void join_tops(const float (&top)[kRun]) {
    constexpr int kParts = kPositions / 8;
#pragma unroll
    for (int j = 0; j < kRun; ++j) q[part * kQueries + own_query(j)] = top[j];
    meet();
    if (thread_index() < kQueries) {
      float most = kMasked;
      for (int i = 0; i < kParts; ++i) {
        most = larger(most, q[i * kQueries + thread_index()]);
      }
      tops[thread_index()] = most;
    }
    meet();
  }

  /// Of each query's scores, in place, but for those that it does not see; and 1 / their sum.
  GRETA_DEVICE void make_exponentials() {
    const int teams = thread_count() / kTeam;
    for (int of = thread_index() / kTeam; of < kQueries; of += teams) {
      float* const row = scores + of * stride;
      const int n = static_cast<int>(own_of(of) + 1 - start), begin = static_cast<int>(begin_of(of) - start);
      float sum = 0;
#pragma unroll 1
      for (int at = 0; at < n; at += kExponentials) {
        if (begin <= at && at + kExponentials <= n) {
          exponentials_of<true>(row + at, tops[of], 0, kExponentials, sum);
        } else {
          exponentials_of<false>(row + at, tops[of], begin - at, n - at, sum);
        }
      }
      const float total = sum_tree(sum);
      if (lane_of_team() == 0) inverses[of] = 1.0f / total;
    }
    meet();
  }
  static constexpr int kExponentials = 16 * kTeam;  // of a query that are on their way at once
  template <bool kAllSeen>
  static GRETA_DEVICE void exponentials_of(float* row, float top, int begin, int n, float& sum) {
    constexpr int kFew = kExponentials / kTeam;
    float got[kFew];
    const auto at = [](int i) { return i * kTeam + lane_of_team(); };
#pragma unroll
    for (int i = 0; i < kFew; ++i) got[i] = kAllSeen || at(i) < n ? row[at(i)] : kMasked;
#pragma unroll
    for (int i = 0; i < kFew; ++i) {
      if (!kAllSeen && n <= at(i)) continue;
      const float exponential = math::exp(got[i] - top);
      if (kAllSeen || begin <= at(i)) row[at(i)] = exponential;
      sum += exponential;
    }
  }

  /// Dims [d, d + kDims) of all queries.
  GRETA_DEVICE void mix(int d) {
    const int positions = AttentionTile(kWave, kMany).value_positions(head_dim);
    const int chunks = static_cast<int>((end - start + positions - 1) / positions);
    const int own_dim = d + 8 * part;
    float sum[kRun][8] = {};
    stream(
        chunks, [&](int item) { copy_values(item, positions); },
        [&](int item) {
          const int64_t from = start + int64_t{item} * positions;
          const int n = static_cast<int>(smaller(positions, end - from));
          read_weights(from, n);
          meet();
          if (own_dim >= head_dim) return;
          if (all_see(from, from + n)) {
            add_values<true>(item, n, own_dim, sum);
          } else {
            add_values<false>(item, n, own_dim, sum);
          }
        });
    if (own_dim < head_dim) {
#pragma unroll
      for (int j = 0; j < kRun; ++j) {
        write_4(q + own_query(j) * pitch + 8 * part, sum[j]);
        write_4(q + own_query(j) * pitch + 8 * part + 4, sum[j] + 4);
      }
    }
    meet();
    store(d);
    meet();
  }

  GRETA_DEVICE void copy_values(int item, int positions) const {
    const int64_t p = start + int64_t{item} * positions;
    const int64_t n = smaller(positions, (end - p + kTeam - 1) / kTeam * kTeam);
    const std::byte* from = kv.values + Cache::bytes(values_at(kv, kv_head, p));
    const int bytes = static_cast<int>(Cache::bytes(n * head_dim));
    for (int i = 16 * thread_index(); i < bytes; i += 16 * thread_count())
      copy_quad(stage(item) + i, from + i);
  }

  /// q[position][query]: the weights of n positions from `from` on.
  GRETA_DEVICE void read_weights(int64_t from, int n) {
    each_read(
        kQueries * ((n + 3) / 4),
        [&](int i) {
          const float* four = scores + i % kQueries * stride + (from - start) + i / kQueries * 4;
          return load<Quad>(reinterpret_cast<const std::byte*>(four));
        },
        [&](int i, const Quad& four) {
          const int of = i % kQueries, p = i / kQueries * 4;
#pragma unroll
          for (int j = 0; j < 4; ++j)
            q[(p + j) * kQueries + of] = __builtin_bit_cast(float, four.words[j]) * inverses[of];
        });
  }

  template <bool kAllSee>
  GRETA_DEVICE void add_values(int item, int n, int d, float (&sum)[kRun][8]) const {
#pragma unroll 2
    for (int p = 0; p < n; ++p) {
      float value[8], weight[kRun];
      Cache::read_8(stage(item).bytes, p * head_dim + d, 1, value);
      read_own(p, weight);
#pragma unroll
      for (int j = 0; j < kRun; ++j) {
        // What a query does not see may be no number: its weight is kMasked.
        if (!kAllSee && weight[j] < 0) continue;
#pragma unroll
        for (int i = 0; i < 8; ++i) sum[j][i] = math::fma(value[i], weight[j], sum[j][i]);
      }
    }
  }

  /// Dims [d, d + kDims) of the rows, which lie in q as [query][dim].
  GRETA_DEVICE void store(int d) const {
    const int dims = static_cast<int>(smaller(kShape.kDims, head_dim - d));
    const View& out = args.out;
    const auto value = [&](int of, int i) { return q[of * pitch + i]; };
    if (out.format == Format::q8_block32) {
      const int blocks = dims / static_cast<int>(kBlock), all = count * blocks,
                teams = thread_count() / kTeam;
      for (int begin = 0; begin < all; begin += teams) {
        const int i = begin + thread_index() / kTeam, at = i < all ? i : all - 1;
        const int of = at / blocks, k = at % blocks * static_cast<int>(kBlock);
        quantize_block(value(of, k + lane_of_team()), value(of, k + kTeam + lane_of_team()),
                       out.row<ActivationBlock>(row_of(of))[(column_of(of) + d + k) / kBlock], i < all);
      }
    } else if (out.format == Format::f32) {
      each(int64_t{count} * dims, [&](int64_t i) {
        const int of = static_cast<int>(i) / dims, k = static_cast<int>(i) % dims;
        out.row(row_of(of))[column_of(of) + d + k] = value(of, k);
      });
    } else {
      const bool bf16 = out.format == Format::bf16;
      each(int64_t{count} * dims / 2, [&](int64_t i) {
        const int of = static_cast<int>(i) / (dims / 2), k = static_cast<int>(i) % (dims / 2) * 2;
        const auto bits = [&](float x) -> uint32_t { return bf16 ? float_to_bf16(x) : float_to_half(x); };
        out.row<uint32_t>(row_of(of))[(column_of(of) + d + k) / 2] =
            bits(value(of, k)) | bits(value(of, k + 1)) << 16;
      });
    }
  }

  const Args& args;
  const KvView& kv;
  float* q;  // the queries, then a chunk's weights, then what is stored
  SharedAt stages;
  int64_t kv_head;
  int group, first;  // heads that share a kv head; the first query
  int head_dim, pitch, count = 0;
  float *tops, *inverses, *scores;
  int64_t position, start, end, stride;
  int run, part;  // the thread's queries; its 8 positions or dims
};

template <bool kMany>
GRETA_DEVICE void tile_attention(const Args* parts) {
  const Args& args = parts[0];
  GRETA_SHARED(float, sums, 2 * AttentionTile(kWave, kMany).queries);
  with_cache(args.cache.format, [&](auto cache) {
    GRETA_SHARED_BESIDE(memory, AttentionTile(kWave, kMany).bytes(static_cast<int>(args.cache.head_dim)));
    const int64_t kv_heads = args.cache.n_head_kv,
                  tiles = AttentionTile(kWave, kMany).tiles(args.in[0].rows * args.params.n_head / kv_heads);
    // The last rows first: they see most.
    for (int64_t i = group_y(); i < tiles * kv_heads; i += args.groups)
      TileAttention<decltype(cache), kMany>(args, memory, sums, tiles - 1 - i / kv_heads, i % kv_heads)();
  });
}

}  // namespace greta::gpu::GRETA_FORM
