// What ggml's AVX2 kernel of q6_K times q8_K leaves in its eight interleaved f32 sums
// (ggml-cpu/arch/x86/quants.c, ggml_vec_dot_q6_K_q8_K), done here as it does it.

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "base/half.h"
#include "numerics/activation.h"
#include "numerics/oracle.h"

namespace greta {
namespace {

constexpr size_t kBlock = 256, kBlockBytes = 210;

/// Code i of a block as it is stored, 0 to 63.
int stored_code(const uint8_t* block, size_t i) {
  const size_t half = i / 128, quarter = i % 128 / 32, at = i % 32;
  const uint8_t low = block[half * 64 + quarter % 2 * 32 + at];
  const uint8_t high = block[128 + half * 32 + at];
  return (quarter < 2 ? low & 15 : low >> 4) | (high >> (2 * quarter) & 3) << 4;
}

/// A row [k] of weights by a row of q8_K.
float kernel(const uint8_t* row, const ActivationRow& x) {
  std::array<float, 8> lanes{};
  for (size_t b = 0; b < x.codes.size() / kBlock; ++b) {
    const uint8_t* block = row + b * kBlockBytes;
    const auto* scales = reinterpret_cast<const int8_t*>(block + 192);
    uint16_t half = 0;
    std::memcpy(&half, block + 208, 2);
    const float d = static_cast<float>(x.scales[b * 8]) * f16_to_f32(half);
    std::array<int32_t, 8> whole{};
    for (size_t i = 0; i < kBlock; ++i) {
      const int q = x.codes[b * kBlock + i];
      whole[i % 32 / 4] += scales[i / 16] * stored_code(block, i) * q;
      whole[i / 32] -= 32 * scales[i / 16] * q;  // two groups of 16 a lane
    }
    for (size_t lane = 0; lane < 8; ++lane)
      lanes[lane] = std::fma(d, static_cast<float>(whole[lane]), lanes[lane]);
  }
  const auto pair = [&](size_t i) { return lanes[i] + lanes[i + 4]; };
  return (pair(0) + pair(2)) + (pair(1) + pair(3));
}

// Tolerance: the oracle's bound.
TEST(InterleavedSums, OfQ6KHoldWhatTheOffsetPutsInOtherLanes) {
  constexpr size_t kColumns = 2048, kRows = 256;
  std::mt19937 random(7);
  std::uniform_int_distribution<int> byte(0, 255);
  std::normal_distribution<float> normal;
  std::vector<uint8_t> bytes(kRows * kColumns / kBlock * kBlockBytes);
  for (uint8_t& b : bytes) b = static_cast<uint8_t>(byte(random));
  for (size_t at = 208; at < bytes.size(); at += kBlockBytes) {
    const uint16_t d = f32_to_f16(1e-4f * (1 + std::abs(normal(random))));
    std::memcpy(&bytes[at], &d, 2);
  }
  std::vector<float> x(kColumns);
  for (float& value : x) value = std::abs(normal(random));  // as GELU's, of one sign
  const Tensor weight{"w", TensorType::q6_k, 2, {kColumns, kRows, 1, 1}, std::as_bytes(std::span(bytes))};
  Roundings roundings;
  roundings.activation = Format::q8_k;
  const Expected expected = oracle::matmul(weight, x, 1, roundings);
  const ActivationRow row = round_activations(x, Format::q8_k);
  double largest = 0;
  for (size_t i = 0; i < kRows; ++i) {
    const double observed = kernel(&bytes[i * kColumns / kBlock * kBlockBytes], row);
    largest = std::max(largest, std::abs(observed - expected.value[i]) / expected.bound[i]);
  }
  EXPECT_LE(largest, 1);
  EXPECT_GT(largest, 0.01);
}

}  // namespace
}  // namespace greta
