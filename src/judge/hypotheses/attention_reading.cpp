#include "judge/hypotheses/attention_reading.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace greta {
namespace {

bool sees(const Reading& reading, const oracle::AttentionShape& shape, int64_t own, int64_t p,
          int64_t n_pos) {
  const int64_t window = reading.window.value_or(shape.window);
  if (window > 0 && p <= own - window) return false;
  return reading.visible ? reading.visible(own, p, n_pos) : p <= own;
}

int64_t kv_head_of(const Reading& reading, int64_t head, const oracle::AttentionShape& shape) {
  return reading.kv_head ? reading.kv_head(head, shape) : head / (shape.n_head / shape.n_head_kv);
}

int64_t slots_of(const oracle::AttentionShape& shape, std::span<const float> cache) {
  return std::ssize(cache) / (2 * shape.n_head_kv * shape.head_dim);
}

/// A cache [n_pos, 2 * n_head_kv * head_dim] as it is read: [n_pos, 2 * n_head * head_dim], each query head's
/// own keys, then values.
std::vector<float> as_read(std::span<const float> cache, const oracle::AttentionShape& shape,
                           const Reading& reading) {
  const int64_t n_pos = slots_of(shape, cache), d = shape.head_dim;
  std::vector<float> read;
  for (int64_t p = 0; p < n_pos; ++p) {
    const int64_t slot = std::clamp<int64_t>(reading.slot ? reading.slot(p) : p, 0, n_pos - 1);
    for (const int64_t half : {0, 1}) {
      for (int64_t head = 0; head < shape.n_head; ++head) {
        const int64_t from = ((2 * slot + half) * shape.n_head_kv + kv_head_of(reading, head, shape)) * d;
        for (int64_t i = 0; i < d; ++i) {
          const int64_t dim = reading.key_dim && half == 0 ? reading.key_dim(i) : i;
          read.push_back(dim < 0 ? 0 : cache[static_cast<size_t>(from + dim)]);
        }
      }
    }
  }
  return read;
}

/// Rows of heads, each from another one.
std::vector<float> of_other_heads(std::span<const float> rows, int64_t heads, size_t count,
                                  const Reading& reading) {
  const int64_t width = std::ssize(rows) / (heads * static_cast<int64_t>(count));
  std::vector<float> read;
  for (int64_t at = 0; at < std::ssize(rows); at += heads * width) {
    for (int64_t head = 0; head < heads; ++head) {
      const float* from = rows.data() + at + reading.head(head) * width;
      read.insert(read.end(), from, from + width);
    }
  }
  return read;
}

/// The scores of all positions, then the mask.
Expected scores(StageProblem p, const Values& values, const Reading& reading, int64_t n_pos) {
  const std::vector<int64_t> own = p.positions;
  for (size_t row = 0; row < own.size(); ++row) p.positions[row] = n_pos + static_cast<int64_t>(row);
  const oracle::AttentionShape shape = p.attention;
  p.attention.window = 0;
  const double cap = p.attention.cap;
  if (reading.cap_before_scale)
    p.attention.cap *= p.attention.scale;  // f c tanh(s / c) = (f c) tanh(f s / (f c))
  Expected expected = right_of(p, values);
  for (size_t i = 0; i < expected.value.size(); ++i) {
    const int64_t at = static_cast<int64_t>(i) % n_pos;
    const size_t row = i / static_cast<size_t>(n_pos * shape.n_head);
    if (reading.after) {
      expected.value[i] = reading.after(expected.value[i]);
      expected.bound[i] += 8 * bounds::kU * std::abs(expected.value[i]);
    }
    if (sees(reading, shape, own[row], at, n_pos)) continue;
    expected.value[i] = reading.cap_after_mask ? -cap : expected.value[i] + reading.lowered;  // c tanh(-inf)
    if (reading.cap_after_mask || std::isinf(reading.lowered)) expected.bound[i] = 0;
  }
  return expected;
}

/// The mix of what is seen.
Expected weighted(const StageProblem& p, Values values, const Reading& reading, int64_t n_pos) {
  if (!reading.visible) return right_of(p, values);
  std::vector<float> seen(values[0].begin(), values[0].end());
  for (size_t i = 0; i < seen.size(); ++i) {
    const size_t row = i / static_cast<size_t>(n_pos * p.attention.n_head);
    if (!sees(reading, p.attention, p.positions[row], static_cast<int64_t>(i) % n_pos, n_pos)) seen[i] = 0;
  }
  values[0] = std::move(seen);
  return right_of(p, values);
}

Expected read(StageProblem p, Values values, const Reading& reading) {
  const int64_t n_pos = slots_of(p.attention, values[1]);
  p.attention.scale = reading.scale.value_or(p.attention.scale);
  p.attention.cap = reading.cap.value_or(p.attention.cap);
  if (reading.kv_head || reading.slot || reading.key_dim) {
    values[1] = as_read(values[1], p.attention, reading);
    p.attention.n_head_kv = p.attention.n_head;
  }
  if (reading.head) values[0] = of_other_heads(values[0], p.attention.n_head, p.positions.size(), reading);
  return p.kind == StageKind::scores ? scores(std::move(p), values, reading, n_pos)
                                     : weighted(p, std::move(values), reading, n_pos);
}

}  // namespace

Candidate reading(Reading how, Text title, int fitted) {
  return computed_by(
      [how = std::move(how)](const StageProblem& p, const Values& values) { return read(p, values, how); },
      std::move(title), fitted);
}

}  // namespace greta
