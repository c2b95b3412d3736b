// The fields of blocks, as hypotheses change them, make the weights that the oracle decodes.

#include "judge/hypotheses/misread_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/half.h"
#include "numerics/dequant.h"

namespace greta {
namespace {

constexpr TensorType kWithFields[] = {TensorType::q4_0, TensorType::q4_1, TensorType::q5_0, TensorType::q5_1,
                                      TensorType::q8_0, TensorType::q4_k, TensorType::q5_k, TensorType::q6_k};

/// Random bytes; halves among them that are no numbers are made small ones.
std::vector<std::byte> random_blocks(TensorType type, size_t blocks) {
  const size_t bytes = static_cast<size_t>(info(type).bytes);
  std::vector<std::byte> data(blocks * bytes);
  std::mt19937 random(7);
  for (std::byte& byte : data) byte = static_cast<std::byte>(random());
  const uint16_t half = f32_to_f16(0.0123f), other = f32_to_f16(-0.0456f);
  for (size_t b = 0; b < blocks; ++b) {
    std::byte* block = &data[b * bytes];
    std::memcpy(type == TensorType::q6_k ? block + 208 : block, &half, 2);
    if (has_minima(type)) std::memcpy(block + 2, &other, 2);
  }
  return data;
}

/// Exactly but for the order of two products of a few bits each: 4 units of f64.
TEST(BlocksOf, MakeTheWeightsThatTheOracleDecodes) {
  constexpr size_t kColumns = 512, kRows = 3;
  for (const TensorType type : kWithFields) {
    ASSERT_TRUE(has_fields(type));
    const auto data = random_blocks(type, kRows * kColumns / static_cast<size_t>(info(type).block));
    Tensor tensor;
    tensor.type = type;
    tensor.n_dims = 2;
    tensor.dims = {kColumns, kRows, 1, 1};
    tensor.data = data;
    std::vector<double> right(kColumns);
    for (int64_t row = 0; row < int64_t{kRows}; ++row) {
      decode_row(tensor, row, right);
      const WeightBlocks blocks = blocks_of(tensor, row);
      ASSERT_EQ(blocks.size(), kColumns / 32);
      for (size_t j = 0; j < kColumns; ++j) {
        const double value = blocks[j / 32].value(j % 32);
        ASSERT_NEAR(value, right[j], 4 * 1.2e-16 * (std::abs(value) + 64)) << name(type) << " " << j;
      }
    }
  }
}

/// Minima have sums of their own where activations are q8_1: a misread matrix stays in its type.
TEST(ReadBlocks, GivesTheFilesBytesBackAndTheFieldsOfAWrongReader) {
  for (const TensorType type : {TensorType::q4_1, TensorType::q5_1}) {
    const auto data = random_blocks(type, 6);
    Tensor tensor;
    tensor.type = type;
    tensor.n_dims = 2;
    tensor.dims = {64, 3, 1, 1};
    tensor.data = data;
    const auto same = read_blocks(tensor, blocks_of);
    ASSERT_NE(same, nullptr);
    EXPECT_TRUE(std::ranges::equal(same->tensor.data, data));
    const auto negated = read_blocks(tensor, [](const Tensor& all, int64_t row) {
      WeightBlocks blocks = blocks_of(all, row);
      for (WeightBlock& block : blocks) block.m = -block.m;
      return blocks;
    });
    ASSERT_NE(negated, nullptr);
    EXPECT_EQ(blocks_of(negated->tensor, 2)[1].m, -blocks_of(tensor, 2)[1].m);
    EXPECT_EQ(read_blocks(tensor,
                          [](const Tensor& all, int64_t row) {
                            WeightBlocks blocks = blocks_of(all, row);
                            blocks[0].offset = 8;
                            return blocks;
                          }),
              nullptr);
  }
}

TEST(BlocksOf, AreKnownOfTheTypesWhoseFieldsAre) {
  for (const TensorType type : {TensorType::f32, TensorType::f16, TensorType::q2_k, TensorType::mxfp4})
    EXPECT_FALSE(has_fields(type)) << name(type);
}

}  // namespace
}  // namespace greta
