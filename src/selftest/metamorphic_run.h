#pragma once
// Runs for the checks without a reference, and what they leave:
// the whole KV cache and logits. Internal to this room.

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/session.h"
#include "selftest/metamorphic.h"

namespace greta {

/// What a run computed.
struct Snapshot {
  struct Logits {
    int64_t position = 0;
    std::vector<float> row;  // [n_vocab]
  };
  int64_t length = 0;
  std::vector<std::vector<float>> cache;  // by layer: [length, 2 * kv_dim], a position's key, then its value
  std::vector<Logits> logits;
};

/// The first difference of bits in execution order: caches layer by layer over the positions that both have,
/// then the logits of the positions that both have.
std::optional<Deviation> first_deviation(const Snapshot& expected, const Snapshot& observed);

/// The first element that is NaN or infinite.
std::optional<Deviation> first_not_finite(const Snapshot& snapshot);

/// Slots of a runner's cache beyond the positions asked for: there is always something to poison.
inline constexpr int64_t kSpareSlots = 32;

/// A KV cache and buffers of its own on a pool of its own choice. Unlike a session it can be filled with
/// values that nobody may read.
class Runner {
 public:
  Runner(const Engine& engine, ThreadPool& pool, int64_t positions);

  /// From now on unused slots and, before each run, all buffers hold `value`.
  void poison(float value);

  /// Forgets all positions but leaves what they hold, as a server does that recycles a cache.
  void recycle() { cache_.set_length(0); }

  std::span<const float> forward(const Plan& plan, std::span<const int32_t> tokens);

  /// forward(), and the logits into `snapshot`.
  void forward(const Plan& plan, std::span<const int32_t> tokens, Snapshot& snapshot);

  /// The cache into `snapshot`.
  void read(Snapshot& snapshot) const;

 private:
  int64_t n_layer_;
  KvCache cache_;
  Executor executor_;
  std::optional<float> poison_;
};

}  // namespace greta
