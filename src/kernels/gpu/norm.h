#pragma once
// Norms, with the CPU's order (kernels/cpu/elementwise.h): (x * r) * w with r = 1 / sqrt(sum(x^2) / K + eps).
// The sum is a chain in each of 16 lanes, and long: every work-group of a row makes it, and stores its part.

#include "kernels/gpu/rows.h"

namespace greta::gpu::GRETA_FORM {

inline constexpr int64_t kNormChunk = 4096;  // of a row: what is in shared memory at once

/// Adds a chunk's squares to a lane's sum: the next values are read while those before are added up.
GRETA_DEVICE float add_squares(const float* values, int64_t count, float squares) {
  constexpr int kFew = 16, kRound = kFew * kTeam;
  float now[kFew], next[kFew];
  const auto read = [&](int64_t from) {
#pragma unroll
    for (int i = 0; i < kFew; ++i) next[i] = values[from + lane_of_team() + i * kTeam];
  };
  int64_t at = 0;
  if (count >= kRound) read(0);
  for (; at + kRound <= count; at += kRound) {
#pragma unroll
    for (int i = 0; i < kFew; ++i) now[i] = next[i];
    if (at + 2 * kRound <= count) read(at + kRound);
#pragma unroll
    for (int i = 0; i < kFew; ++i) squares = math::fma(now[i], now[i], squares);
  }
  for (at += lane_of_team(); at < count; at += kTeam) squares = math::fma(values[at], values[at], squares);
  return squares;
}

/// r of a row of n, whose element k is value(k): asked once for each, in chunks, which `values` holds.
template <class Value>
GRETA_DEVICE float norm_scale(int64_t n, float eps, float* values, Value value) {
  GRETA_SHARED(float, shared, 1);
  float squares = 0;
  for (int64_t begin = 0; begin < n; begin += kNormChunk) {
    const int64_t count = smaller(kNormChunk, n - begin);
    each(count, [&](int64_t i) { values[i] = value(begin + i); });
    meet();
    if (thread_index() < kWave) squares = add_squares(values, count, squares);
    if (begin + kNormChunk < n) meet();  // before the next chunk overwrites this one
  }
  if (thread_index() < kWave) {
    const float mean = sum_tree(squares) / static_cast<float>(n);
    if (thread_index() == 0) shared[0] = 1.0f / square_root(mean + eps);
  }
  meet();
  return shared[0];
}

/// What this work-group stores of a row of n: an equal share, in whole blocks.
GRETA_DEVICE Span share_of(const Args& args, int64_t n) {
  const int64_t share = (n + kBlock * args.groups - 1) / (kBlock * args.groups) * kBlock;
  const int64_t begin = smaller(n, group_y() * share);
  return {begin, smaller(n, begin + share)};
}

/// By heads of K.
GRETA_DEVICE void rms_norm(const Args& args) {
  const int64_t n = args.in[1].cols, heads = args.in[0].cols / n;
  const int64_t row = group_x() / heads, at = group_x() % heads * n;
  const float *x = args.in[0].row(row) + at, *w = args.in[1].row(0);
  GRETA_SHARED(float, values, kNormChunk);
  const float scale = norm_scale(n, args.params.eps, values, [x](int64_t k) { return x[k]; });
  const auto value = [=](int64_t k) { return ((n <= kNormChunk ? values[k] : x[k]) * scale) * w[k]; };
  const Span part = share_of(args, n);
  store_row(args, row, {at + part.begin, at + part.end}, [=](int64_t k) { return value(k - at); });
}

/// add, and the norm of what it makes. The norm's weights are asked for before the kernel before this one has
/// ended: they come from afar.
GRETA_DEVICE void add_norm(const Args* parts) {
  const Args &sum = parts[0], &norm = parts[1];
  const int64_t n = sum.out.cols, row = group_x();
  const Span part = share_of(norm, n);
  GRETA_SHARED(float, values, kNormChunk);
  GRETA_SHARED(float, weights, kNormChunk);
  const float* w = norm.in[1].row(0);
  const bool fits = n <= kNormChunk;
  if (fits) each(part.end - part.begin, [&](int64_t i) { weights[part.begin + i] = w[part.begin + i]; });
  wait_for_previous();
  const float *a = sum.in[0].row(row), *b = sum.in[1].row(row);
  float* out = sum.out.row(row);
  const float scale = norm_scale(n, norm.params.eps, values, [&](int64_t k) {
    const float x = math::fma(b[k], sum.params.scale, a[k]);
    if (part.begin <= k && k < part.end) out[k] = x;
    return x;
  });
  // Of a long row, what this work-group has stored itself.
  store_row(norm, row, part,
            [=](int64_t k) { return ((fits ? values[k] : out[k]) * scale) * (fits ? weights[k] : w[k]); });
}

}  // namespace greta::gpu::GRETA_FORM
