#pragma once
// Norms, with the CPU's order (kernels/cpu/elementwise.h): (x * r) * w with r = 1 / sqrt(sum(x^2) / K + eps).
// The sum is a chain in each of 16 lanes, and long: every work-group of a row makes it, and stores its part.

#include "kernels/gpu/copy.h"
#include "kernels/gpu/rows.h"

namespace greta::gpu::GRETA_FORM {

inline constexpr int64_t kNormChunk = 4096;  // of a row: what is in shared memory at once

/// Where element k of a chunk lies: those of a lane in a row, rows apart so that lanes meet in no bank.
inline constexpr int kLanePitch = static_cast<int>(kNormChunk) / kTeam + 4;
GRETA_DEVICE int place_of(int64_t k) {
  return static_cast<int>(k) % kTeam * kLanePitch + static_cast<int>(k) / kTeam;
}

/// Adds a chunk's squares to a lane's sum.
GRETA_DEVICE float add_squares(const float* values, int64_t count, float squares) {
  constexpr int kFew = 4;  // quads at once
  const float* const own = values + lane_of_team() * kLanePitch;
  const int n = (static_cast<int>(count) - lane_of_team() + kTeam - 1) / kTeam;
  int at = 0;
#pragma unroll 2
  for (; at + 4 * kFew <= n; at += 4 * kFew) {
    Quad quads[kFew];
#pragma unroll
    for (int i = 0; i < kFew; ++i)
      quads[i] = load<Quad>(reinterpret_cast<const std::byte*>(own + at + 4 * i));
#pragma unroll
    for (int i = 0; i < 4 * kFew; ++i) {
      const float x = __builtin_bit_cast(float, quads[i / 4].words[i % 4]);
      squares = math::fma(x, x, squares);
    }
  }
#pragma unroll 1
  for (; at < n; ++at) squares = math::fma(own[at], own[at], squares);
  return squares;
}

/// r of a row of n, whose element k is value(k): asked once for each, in chunks, which `values` holds, and
/// given to keep(k, value).
template <class Value, class Keep>
GRETA_DEVICE float norm_scale(int64_t n, float eps, float* values, Value value, Keep keep) {
  GRETA_SHARED(float, shared, 1);
  float squares = 0;
  for (int64_t begin = 0; begin < n; begin += kNormChunk) {
    const int64_t count = smaller(kNormChunk, n - begin);
    each_read(
        count, [&](int i) { return value(begin + i); },
        [&](int i, float x) {
          values[place_of(i)] = x;
          keep(begin + i, x);
        });
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

/// By heads of K.
GRETA_DEVICE void rms_norm(const Args& args) {
  const int64_t n = args.in[1].cols, heads = args.in[0].cols / n;
  const int64_t row = group_x() / heads, at = group_x() % heads * n;
  const float *x = args.in[0].row(row) + at, *w = args.in[1].row(0);
  GRETA_SHARED(float, values, kTeam* kLanePitch);
  const float scale = norm_scale(
      n, args.params.eps, values, [x](int64_t k) { return x[k]; }, [](int64_t, float) {});
  const auto value = [=](int64_t k) {
    return ((n <= kNormChunk ? values[place_of(k)] : x[k]) * scale) * w[k];
  };
  const Span part = share_of(args, n);
  store_row(args, row, {at + part.begin, at + part.end}, [=](int64_t k) { return value(k - at); });
}

/// add, and the norm of what it makes. The norm's weights are asked for before the kernel before this one has
/// ended: they come from afar.
GRETA_DEVICE void add_norm(const Args* parts) {
  const Args &sum = parts[0], &norm = parts[1];
  const int64_t n = sum.out.cols, row = group_x();
  const Span part = share_of(norm, n);
  GRETA_SHARED(float, values, kTeam* kLanePitch);
  GRETA_SHARED(float, weights, kNormThreads);
  const float* w = norm.in[1].row(0) + part.begin;
  const bool fits = n <= kNormChunk, ahead = part.end - part.begin <= kNormThreads;
  const bool mine = ahead && thread_index() < part.end - part.begin;
  const float weight = mine ? w[thread_index()] : 0.0f;
  wait_for_previous();
  if (mine) weights[thread_index()] = weight;
  const float *a = sum.in[0].row(row), *b = sum.in[1].row(row);
  float* out = sum.out.row(row);
  const float scale = norm_scale(
      n, norm.params.eps, values, [&](int64_t k) { return math::fma(b[k], sum.params.scale, a[k]); },
      [&](int64_t k, float x) {
        if (part.begin <= k && k < part.end) out[k] = x;
      });
  // Of a long row, what this work-group has stored itself.
  store_row(norm, row, part, [=](int64_t k) {
    return ((fits ? values[place_of(k)] : out[k]) * scale) * (ahead ? weights : w)[k - part.begin];
  });
}

}  // namespace greta::gpu::GRETA_FORM
