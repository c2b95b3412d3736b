#include "experiment/snapshot.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace greta {
namespace {

size_t row_size(const Snapshot& snapshot, size_t layer) {
  return snapshot.cache[layer].size() / static_cast<size_t>(snapshot.length - snapshot.first);
}

/// Places an element of a layer's cache.
Deviation cache_place(const Snapshot& snapshot, size_t layer, size_t index) {
  const size_t row = row_size(snapshot, layer), half = row / 2;
  Deviation place;
  place.length = snapshot.length;
  place.layer = static_cast<int>(layer);
  place.position = snapshot.first + static_cast<int64_t>(index / row);
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

/// A layer's rows of the positions that both have.
struct CommonRows {
  int64_t first = 0;
  size_t count = 0, row = 0;  // rows, and floats of each
  const float *expected = nullptr, *observed = nullptr;
};

CommonRows common_rows(const Snapshot& expected, const Snapshot& observed, size_t layer) {
  CommonRows common;
  if (layer >= expected.cache.size() || layer >= observed.cache.size()) return common;
  const std::vector<float>&want = expected.cache[layer], &got = observed.cache[layer];
  if (want.empty() || got.empty()) return common;
  common.first = std::max(expected.first, observed.first);
  const int64_t count = std::min(expected.length, observed.length) - common.first;
  if (count <= 0) return common;
  common.count = static_cast<size_t>(count);
  common.row = row_size(observed, layer);
  common.expected = want.data() + static_cast<size_t>(common.first - expected.first) * common.row;
  common.observed = got.data() + static_cast<size_t>(common.first - observed.first) * common.row;
  return common;
}

}  // namespace

std::optional<Deviation> first_deviation(const Snapshot& expected, const Snapshot& observed) {
  const auto filled = [](Deviation place, float want, float got) {
    place.expected = want;
    place.observed = got;
    return place;
  };
  if (observed.lost || expected.lost) return observed.lost ? observed.lost : expected.lost;
  for (size_t layer = 0; layer < observed.cache.size(); ++layer) {
    const CommonRows rows = common_rows(expected, observed, layer);
    const size_t n = rows.count * rows.row, at = first_difference(rows.expected, rows.observed, n);
    if (at == n) continue;
    const size_t own = static_cast<size_t>(rows.first - observed.first) * rows.row + at;
    return filled(cache_place(observed, layer, own), rows.expected[at], rows.observed[at]);
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

std::vector<int64_t> deviating_positions(const Snapshot& expected, const Snapshot& observed, int layer) {
  std::vector<int64_t> positions;
  const CommonRows rows = common_rows(expected, observed, static_cast<size_t>(layer));
  for (size_t i = 0; i < rows.count; ++i) {
    const size_t at = i * rows.row;
    if (first_difference(rows.expected + at, rows.observed + at, rows.row) < rows.row)
      positions.push_back(rows.first + static_cast<int64_t>(i));
  }
  return positions;
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

Runner::Runner(const Engine& engine, ThreadPool& pool, int64_t positions, std::optional<Format> format)
    : cache_(engine.cache(positions + kSpareSlots, format)), executor_(engine.executor(pool)) {}

void Runner::poison(float value) {
  poison_ = value;
  cache_.fill_unused(value);
}

std::span<const float> Runner::forward(const Plan& plan, std::span<const int32_t> tokens) {
  if (poison_) executor_->fill_buffers(*poison_);
  return executor_->run(plan, tokens, cache_.length(), cache_);
}

bool Runner::forward(const Plan& plan, std::span<const int32_t> tokens, Snapshot& snapshot) {
  const int64_t expected = cache_.length() + std::ssize(tokens);
  const std::span<const float> row = forward(plan, tokens);
  snapshot.lost = lost_count(cache_, expected);
  if (snapshot.lost) return false;
  if (!row.empty()) snapshot.logits.push_back({expected - 1, {row.begin(), row.end()}});
  return true;
}

void Runner::read(Snapshot& snapshot) const { read_cache_into(cache_, 0, snapshot); }

void read_cache_into(const KvCache& cache, int64_t first, Snapshot& snapshot) {
  snapshot.first = first;
  snapshot.length = cache.length();
  for (int64_t i = 0; i < cache.layers(); ++i) {
    std::vector<float>& rows = snapshot.cache.emplace_back();
    for (int64_t position = first; position < cache.length(); ++position) {
      const std::vector<float> row = read_cache_row(cache.layer(i, false), position);
      rows.insert(rows.end(), row.begin(), row.end());
    }
  }
}

bool is_whole(const Snapshot& snapshot) {
  return std::none_of(snapshot.cache.begin(), snapshot.cache.end(),
                      [](const std::vector<float>& rows) { return rows.empty(); });
}

void write_cache_from(const Snapshot& snapshot, int64_t length, KvCache& cache) {
  for (size_t layer = 0; layer < snapshot.cache.size(); ++layer) {
    const std::span<const float> rows(snapshot.cache[layer]);
    const size_t row = row_size(snapshot, layer);
    for (int64_t position = snapshot.first; position < length; ++position) {
      const size_t at = static_cast<size_t>(position - snapshot.first) * row;
      write_cache_row(cache.layer(static_cast<int64_t>(layer)), position, rows.subspan(at, row));
    }
  }
  cache.set_length(length);
}

std::optional<Deviation> lost_count(const KvCache& cache, int64_t expected) {
  if (cache.length() == expected) return std::nullopt;
  Deviation lost;
  lost.length = expected;
  lost.position = expected - 1;
  lost.what = kLostCount;
  lost.expected = static_cast<float>(expected);
  lost.observed = static_cast<float>(cache.length());
  return lost;
}

}  // namespace greta
