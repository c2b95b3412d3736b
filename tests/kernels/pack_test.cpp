#include "kernels/pack.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "kernels/kernel_cases.h"
#include "numerics/golden_file.h"

namespace greta::test {
namespace {

// The values that the Python package `gguf` makes of random blocks (tests/goldens/make_dequant.py). It
// decodes in f32 with one rounding per value, as the kernels do: no tolerance. A golden's blocks, as rows of
// different lengths, fill every lane and place of a panel;
// the vector route multiplies by them, one k at a time.
class PackGolden : public testing::TestWithParam<TensorType> {
 protected:
  GoldenFile goldens_{"dequant.safetensors"};
  std::vector<std::byte> blocks_ = goldens_.bytes(std::string(name(GetParam())) + ".blocks");
  std::vector<std::byte> values_ = goldens_.bytes(std::string(name(GetParam())) + ".values");
  int64_t count_ = std::ssize(values_) / 4;
  int64_t shortest_ = row_length(GetParam(), 16);

  float value(int64_t i) const {
    float x;
    std::memcpy(&x, values_.data() + 4 * i, 4);
    return x;
  }
};

TEST_P(PackGolden, UnpackGivesTheFileValuesBitForBit) {
  for (int64_t k = shortest_; k <= count_; k *= 2) {
    const PackedWeight weight = pack(GetParam(), blocks_, count_ / k, k);
    std::vector<float> out(static_cast<size_t>(k));
    for (int64_t r = 0; r < count_ / k; ++r) {
      unpack_row(weight, r, out.data());
      for (int64_t i = 0; i < k; ++i) {
        ASSERT_EQ(std::bit_cast<uint32_t>(out[static_cast<size_t>(i)]),
                  std::bit_cast<uint32_t>(value(r * k + i)))
            << "k " << k << " row " << r << " element " << i;
      }
    }
  }
}

TEST_P(PackGolden, TheVectorRouteMultipliesByTheFileValues) {
  const int64_t k = shortest_, n = count_ / k;
  const PackedWeight weight = pack(GetParam(), blocks_, n, k);
  for (Isa isa : isas()) {
    for (Shape shape : {Shape::gemm, Shape::gemv}) {
      const KernelInfo& kernel = *matmul_kernel(isa, GetParam(), Route::vector, shape);
      for (int64_t i = 0; i < k; ++i) {
        Matrix x(1, k), out(1, n);
        for (int64_t j = 0; j < k; ++j) x.at(0, j) = j == i ? 1.0f : 0.0f;
        matmul(kernel, weight, x.view(), out.view());
        for (int64_t r = 0; r < n; ++r) {  // a zero's sign is lost in a sum
          ASSERT_EQ(out.at(0, r), value(r * k + i)) << kernel.name << " row " << r << " element " << i;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, PackGolden, testing::ValuesIn(kTypes),
                         [](const auto& type) { return std::string(name(type.param)); });

TEST(Pack, PanelsInAnyOrderGiveTheSameBytes) {
  for (TensorType type : kTypes) {
    const int64_t k = row_length(type, 64);
    const std::vector<std::byte> rows = file_rows(type, 50, k, 21);
    const PackedWeight whole = pack(type, rows, 50, k);
    PackedWeight parts = plan_pack(type, rows, 50, k);
    parts.bytes = AlignedBytes(parts.packed_bytes());
    std::memset(parts.bytes.data(), 0xa5, static_cast<size_t>(parts.bytes.size()));
    pack_panels(parts, rows, 2, 4);
    pack_panels(parts, rows, 0, 2);
    EXPECT_EQ(std::memcmp(whole.bytes.data(), parts.bytes.data(), static_cast<size_t>(whole.bytes.size())), 0)
        << name(type);
  }
}

// Rows of a matrix with a partial last panel, against each row packed alone.
TEST(Pack, EveryLaneHoldsItsRow) {
  for (TensorType type : kTypes) {
    const int64_t k = row_length(type, 96), bytes = k / info(type).block * info(type).bytes;
    const std::vector<std::byte> rows = file_rows(type, 35, k, 20);
    const PackedWeight weight = pack(type, rows, 35, k);
    std::vector<float> out(static_cast<size_t>(k)), want(out);
    for (int64_t r = 0; r < 35; ++r) {
      const std::span<const std::byte> row(rows.data() + r * bytes, static_cast<size_t>(bytes));
      unpack_row(pack(type, row, 1, k), 0, want.data());
      unpack_row(weight, r, out.data());
      ASSERT_EQ(std::memcmp(out.data(), want.data(), out.size() * 4), 0) << name(type) << " row " << r;
    }
  }
}

// The small scales of some K types take whole bytes here: at most 4 % more than in the file.
TEST(Pack, TakesAtMostTheFileSizeAndFourPercent) {
  for (TensorType type : kTypes) {
    const PackedWeight weight = random_weight(type, 64, 2048, 22);
    const double file = 64.0 * 2048 / info(type).block * info(type).bytes;
    EXPECT_GE(static_cast<double>(weight.bytes.size()), file) << name(type);
    EXPECT_LE(static_cast<double>(weight.bytes.size()), 1.04 * file) << name(type);
  }
}

TEST(Pack, RefusesWhatItCannotPack) {
  const std::vector<std::byte> bytes(20 * 100);
  EXPECT_FALSE(can_pack(TensorType::q8_k));
  EXPECT_THROW(pack(TensorType::q8_k, bytes, 1, 256), Error);
  EXPECT_THROW(pack(TensorType::q4_1, bytes, 10, 33), Error);
  EXPECT_THROW(pack(TensorType::q4_1, bytes, 99, 32), Error);
  EXPECT_THROW(pack(TensorType::q4_1, bytes, 0, 32), Error);
  EXPECT_NO_THROW(pack(TensorType::q4_1, bytes, 100, 32));
}

/// A panel of rows that lie in halves is that of the same rows in order. Tolerance: none.
TEST(Pack, ReadsRowsInTheirOrder) {
  constexpr int64_t n = 48, k = 64;
  for (const TensorType type : {TensorType::f32, TensorType::bf16, TensorType::q8_0}) {
    const std::vector<std::byte> stored = file_rows(type, n, k, 5);
    const RowOrder order{16};
    std::vector<std::byte> in_order;
    const size_t size = stored.size() / n;
    for (uint64_t row = 0; row < n; ++row) {
      const auto from = stored.begin() + static_cast<std::ptrdiff_t>(order.stored(row) * size);
      in_order.insert(in_order.end(), from, from + static_cast<std::ptrdiff_t>(size));
    }
    const PackedWeight a = pack(type, stored, n, k, order), b = pack(type, in_order, n, k);
    EXPECT_EQ(std::memcmp(a.bytes.data(), b.bytes.data(), static_cast<size_t>(a.packed_bytes())), 0)
        << name(type);
  }
}

}  // namespace
}  // namespace greta::test
