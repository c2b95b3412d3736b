#include "selftest/metamorphic_run.h"

#include <bit>
#include <cmath>

namespace greta {
namespace {

/// Places an element of a layer's cache.
Deviation cache_place(const Snapshot& snapshot, size_t layer, size_t index) {
  const size_t row = snapshot.cache[layer].size() / static_cast<size_t>(snapshot.length), half = row / 2;
  Deviation place;
  place.length = snapshot.length;
  place.layer = static_cast<int>(layer);
  place.position = static_cast<int64_t>(index / row);
  place.what = index % row < half ? "key" : "value";
  place.element = static_cast<int64_t>(index % half);
  return place;
}

Deviation logits_place(const Snapshot& snapshot, int64_t position, size_t index) {
  Deviation place;
  place.length = snapshot.length;
  place.position = position;
  place.what = "logits";
  place.element = static_cast<int64_t>(index);
  return place;
}

/// Index of the first element of other bits, or n.
size_t first_difference(const float* a, const float* b, size_t n) {
  size_t i = 0;
  while (i < n && std::bit_cast<uint32_t>(a[i]) == std::bit_cast<uint32_t>(b[i])) ++i;
  return i;
}

}  // namespace

std::optional<Deviation> first_deviation(const Snapshot& expected, const Snapshot& observed) {
  const auto filled = [](Deviation place, float want, float got) {
    place.expected = want;
    place.observed = got;
    return place;
  };
  for (size_t layer = 0; layer < observed.cache.size(); ++layer) {
    const std::vector<float>&want = expected.cache[layer], &got = observed.cache[layer];
    const size_t n = std::min(want.size(), got.size());
    const size_t at = first_difference(want.data(), got.data(), n);
    if (at < n) return filled(cache_place(observed, layer, at), want[at], got[at]);
  }
  for (const Snapshot::Logits& got : observed.logits) {
    for (const Snapshot::Logits& want : expected.logits) {
      if (want.position != got.position) continue;
      const size_t at = first_difference(want.row.data(), got.row.data(), got.row.size());
      if (at < got.row.size())
        return filled(logits_place(observed, got.position, at), want.row[at], got.row[at]);
    }
  }
  return std::nullopt;
}

std::optional<Deviation> first_not_finite(const Snapshot& snapshot) {
  const auto filled = [](Deviation place, float value) {
    place.observed = value;
    return place;
  };
  for (size_t layer = 0; layer < snapshot.cache.size(); ++layer) {
    const std::vector<float>& values = snapshot.cache[layer];
    for (size_t i = 0; i < values.size(); ++i) {
      if (!std::isfinite(values[i])) return filled(cache_place(snapshot, layer, i), values[i]);
    }
  }
  for (const Snapshot::Logits& logits : snapshot.logits) {
    for (size_t i = 0; i < logits.row.size(); ++i) {
      if (!std::isfinite(logits.row[i]))
        return filled(logits_place(snapshot, logits.position, i), logits.row[i]);
    }
  }
  return std::nullopt;
}

Runner::Runner(const Engine& engine, ThreadPool& pool, int64_t positions)
    : n_layer_(engine.model().config.n_layer),
      cache_(engine.model().config, positions + kSpareSlots, engine.options().kv_format),
      executor_(pool) {}

void Runner::poison(float value) {
  poison_ = value;
  cache_.fill_unused(value);
}

std::span<const float> Runner::forward(const Plan& plan, std::span<const int32_t> tokens) {
  if (poison_) executor_.fill_buffers(*poison_);
  return executor_.run(plan, tokens, cache_.length(), cache_);
}

void Runner::forward(const Plan& plan, std::span<const int32_t> tokens, Snapshot& snapshot) {
  const std::span<const float> row = forward(plan, tokens);
  snapshot.logits.push_back({cache_.length() - 1, {row.begin(), row.end()}});
}

void Runner::read(Snapshot& snapshot) const {
  snapshot.length = cache_.length();
  for (int64_t i = 0; i < n_layer_; ++i)
    snapshot.cache.push_back(read_cache(cache_.layer(i), cache_.length()));
}

}  // namespace greta
