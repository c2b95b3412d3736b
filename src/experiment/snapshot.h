#pragma once
// Runs that are held against each other bit for bit, and what they leave: the whole KV cache and logits.

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/session.h"
#include "verdict/metamorphic.h"

namespace greta {

/// What a run computed.
struct Snapshot {
  struct Logits {
    int64_t position = 0;
    std::vector<float> row;  // [n_vocab]
  };
  int64_t first = 0;   // the first position of `cache`
  int64_t length = 0;  // and the one after the last
  // By layer: [length - first, 2 * kv_dim], a position's key, then its value. Empty: not known.
  std::vector<std::vector<float>> cache;
  std::vector<Logits> logits;
  std::optional<Deviation> lost = {};  // the run lost count of the positions, and ended there
};

/// The first difference of bits in execution order: a lost count; caches layer by layer over the positions
/// that both have; then the logits of the positions that both have.
std::optional<Deviation> first_deviation(const Snapshot& expected, const Snapshot& observed);

/// The positions of which both have other rows in this layer's cache, in order.
std::vector<int64_t> deviating_positions(const Snapshot& expected, const Snapshot& observed, int layer);

/// The first element that is NaN or infinite.
std::optional<Deviation> first_not_finite(const Snapshot& snapshot);

/// Slots of a runner's cache beyond the positions asked for: there is always something to poison.
inline constexpr int64_t kSpareSlots = 32;

/// A KV cache and buffers of its own on a pool of its own choice. Unlike a session it can be filled with
/// values that nobody may read.
class Runner {
 public:
  /// `format`: of the cache; the engine's where none is given.
  Runner(const Engine& engine, ThreadPool& pool, int64_t positions, std::optional<Format> format = {});

  KvCache& cache() { return cache_; }

  /// From now on unused slots and, before each run, all buffers hold `value`.
  void poison(float value);

  /// Forgets all positions but leaves what they hold, as a server does that recycles a cache.
  void recycle() { cache_.set_length(0); }

  std::span<const float> forward(const Plan& plan, std::span<const int32_t> tokens);

  /// forward(), and the logits, if the plan makes some, into `snapshot`. False: the count of positions is not
  /// what it must be after it; the snapshot says so.
  bool forward(const Plan& plan, std::span<const int32_t> tokens, Snapshot& snapshot);

  /// The cache into `snapshot`.
  void read(Snapshot& snapshot) const;

 private:
  KvCache cache_;
  std::unique_ptr<Executor> executor_;
  std::optional<float> poison_;
};

/// The cache's positions from `first` on into `snapshot`.
void read_cache_into(const KvCache& cache, int64_t first, Snapshot& snapshot);

/// Whether the caches of all layers are known.
bool is_whole(const Snapshot& snapshot);

/// The other way: the snapshot's rows below `length`, which is then the cache's.
void write_cache_from(const Snapshot& snapshot, int64_t length, KvCache& cache);

/// Deviation::what of a run that lost count of the positions.
inline constexpr const char* kLostCount = "cache length";

/// What `cache` says of its length where it must be `expected`.
std::optional<Deviation> lost_count(const KvCache& cache, int64_t expected);

}  // namespace greta
