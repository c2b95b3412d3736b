#include "kernels/pack.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "kernel_cases.h"

namespace greta::test {
namespace {

uint16_t read16(const std::byte* p) {
  uint16_t x;
  std::memcpy(&x, p, 2);
  return x;
}

/// Element i of a file row by the format's definition: d * q (+ m), each operation in f32.
float file_value(TensorType type, const std::byte* row, int64_t i) {
  if (type == TensorType::f32) {
    float x;
    std::memcpy(&x, row + i * 4, 4);
    return x;
  }
  if (type == TensorType::f16) return f16_to_f32(read16(row + i * 2));
  if (type == TensorType::bf16) return bf16_to_f32(read16(row + i * 2));
  const std::byte* block = row + i / 32 * info(type).bytes;
  const int64_t k = i % 32;
  const float d = f16_to_f32(read16(block));
  if (type == TensorType::q8_0) return d * static_cast<float>(static_cast<int8_t>(block[2 + k]));
  const bool five = type == TensorType::q5_0 || type == TensorType::q5_1;
  const bool has_min = type == TensorType::q4_1 || type == TensorType::q5_1;
  const std::byte* p = block + (has_min ? 4 : 2);
  uint32_t high = 0;
  if (five) {
    std::memcpy(&high, p, 4);
    p += 4;
  }
  int q = static_cast<int>(p[k % 16]) >> (k < 16 ? 0 : 4) & 15;
  if (five) q |= static_cast<int>(high >> k & 1) << 4;
  if (has_min) return d * static_cast<float>(q) + f16_to_f32(read16(block + 2));
  return d * static_cast<float>(q - (five ? 16 : 8));
}

TEST(Pack, UnpackGivesTheFileValuesBitForBit) {
  for (TensorType type : kTypes) {
    for (int64_t n : {1, 16, 35}) {
      for (int64_t k : {32, 96, 77}) {
        if (k % info(type).block != 0) continue;
        const std::vector<std::byte> rows = file_rows(type, n, k, 20);
        const PackedWeight weight = pack(type, rows, n, k);
        std::vector<float> out(static_cast<size_t>(k));
        for (int64_t r = 0; r < n; ++r) {
          unpack_row(weight, r, out.data());
          for (int64_t i = 0; i < k; ++i) {
            const float want = file_value(type, rows.data() + r * k / info(type).block * info(type).bytes, i);
            ASSERT_TRUE(same(out[static_cast<size_t>(i)], want))
                << name(type) << " row " << r << " element " << i;
          }
        }
      }
    }
  }
}

TEST(Pack, PanelsInAnyOrderGiveTheSameBytes) {
  for (TensorType type : kTypes) {
    const std::vector<std::byte> rows = file_rows(type, 50, 64, 21);
    const PackedWeight whole = pack(type, rows, 50, 64);
    PackedWeight parts = plan_pack(type, rows, 50, 64);
    pack_panels(parts, rows, 2, 4);
    pack_panels(parts, rows, 0, 2);
    EXPECT_EQ(std::memcmp(whole.bytes.data(), parts.bytes.data(), static_cast<size_t>(whole.bytes.size())),
              0);
  }
}

TEST(Pack, TakesAtMostTheFileSizeAndItsPadding) {
  for (TensorType type : kTypes) {
    const PackedWeight weight = random_weight(type, 64, 256, 22);
    EXPECT_EQ(weight.bytes.size(), 64 * 256 / info(type).block * info(type).bytes) << name(type);
  }
}

TEST(Pack, RefusesWhatItCannotPack) {
  const std::vector<std::byte> bytes(20 * 100);
  EXPECT_FALSE(can_pack(TensorType::iq4_xs));
  EXPECT_THROW(pack(TensorType::iq4_xs, bytes, 1, 256), Error);
  EXPECT_THROW(pack(TensorType::q4_1, bytes, 10, 33), Error);
  EXPECT_THROW(pack(TensorType::q4_1, bytes, 99, 32), Error);
  EXPECT_THROW(pack(TensorType::q4_1, bytes, 0, 32), Error);
  EXPECT_NO_THROW(pack(TensorType::q4_1, bytes, 100, 32));
}

}  // namespace
}  // namespace greta::test
