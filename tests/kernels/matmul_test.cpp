#include <gtest/gtest.h>

#include "kernels/kernel_cases.h"

namespace greta::test {
namespace {

struct Case {
  Isa isa;
  TensorType type;
  Route route;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (Isa isa : isas()) {
    for (TensorType type : kTypes) {
      for (Route route : {Route::vector, Route::matrix}) {
        if (matmul_kernel(isa, type, route, Shape::gemm)) all.push_back({isa, type, route});
      }
    }
  }
  return all;
}

std::string label(const testing::TestParamInfo<Case>& test) {
  return std::string(name(test.param.isa)) + "_" + std::string(name(test.param.type)) + "_" +
         std::string(name(test.param.route));
}

class Matmul : public testing::TestWithParam<Case> {
 protected:
  const KernelInfo& kernel(Shape shape) const {
    return *matmul_kernel(GetParam().isa, GetParam().type, GetParam().route, shape);
  }
  bool plain() const { return block_code(GetParam().type).bits == 0; }
  /// A length near k that rows can have: odd where that is possible.
  int64_t length(int64_t k) const { return plain() ? k - 19 : row_length(GetParam().type, k); }
};

/// Each row of `x` through the GEMV.
Matrix gemv_rows(const KernelInfo& gemv, const PackedWeight& weight, const Matrix& x) {
  Matrix out(x.view().rows, weight.n);
  for (int64_t r = 0; r < x.view().rows; ++r) matmul(gemv, weight, x.rows(r, 1), out.rows(r, 1));
  return out;
}

TEST_P(Matmul, EveryRowOfAGemmEqualsTheGemvForEveryS) {
  const int64_t n = 37, k = length(96);
  const PackedWeight weight = random_weight(GetParam().type, n, k, 1);
  const Matrix x = activations(kernel(Shape::gemm), Matrix::random(1300, k, 2));
  const Matrix want = gemv_rows(kernel(Shape::gemv), weight, x);
  std::vector<int64_t> sizes{200, 241, 333, 1000};
#ifdef GRETA_SANITIZED
  constexpr int64_t kStep = 13;
#else
  constexpr int64_t kStep = 1;
#endif
  for (int64_t s = 1; s <= 130; s += kStep) sizes.push_back(s);
  for (int64_t s : sizes) {
    const int64_t first = s * 7 % (1300 - s);  // another place in the batch for each S
    Matrix got(s, n);
    matmul(kernel(Shape::gemm), weight, x.rows(first, s), got.view());
    ASSERT_EQ(difference(want.rows(first, s), got.view()), "") << "S = " << s << ", first row " << first;
  }
}

TEST_P(Matmul, ThreadsDoNotChangeABit) {
#ifdef GRETA_SANITIZED
  const std::vector<int64_t> widths{5, 100};
#else
  const std::vector<int64_t> widths{5, 16, 100, 321};
#endif
  for (int64_t n : widths) {
    const int64_t k = row_length(GetParam().type, 64);
    const PackedWeight weight = random_weight(GetParam().type, n, k, 3);
    const Matrix x = activations(kernel(Shape::gemm), Matrix::random(300, k, 4));
    const Matrix want = gemv_rows(kernel(Shape::gemv), weight, x);
    for (int parts : {1, 2, 3, 8, 64}) {
      for (int64_t s : {1, 13, 100, 300}) {
        Matrix got(s, n);
        matmul(kernel(Shape::gemm), weight, x.rows(0, s), got.view(), parts);
        ASSERT_EQ(difference(want.rows(0, s), got.view()), "")
            << "n " << n << " parts " << parts << " S " << s;
      }
      Matrix one(1, n);
      matmul(kernel(Shape::gemv), weight, x.rows(0, 1), one.view(), parts);
      ASSERT_EQ(difference(want.rows(0, 1), one.view()), "") << "gemv, parts " << parts;
    }
  }
}

TEST_P(Matmul, EveryIsaGivesTheBitsOfTheScalarBuild) {
  std::vector<int64_t> lengths{1, 2, 31, 77, 129, 300, 576};
  if (!plain()) lengths = {32, 64, 160, 576, 1536};
  if (info(GetParam().type).block == 256) lengths = {256, 768, 1536};
  const KernelInfo& reference = *matmul_kernel(Isa::scalar, GetParam().type, GetParam().route, Shape::gemm);
  for (int64_t k : lengths) {
    const int64_t n = 150;
    const PackedWeight weight = random_weight(GetParam().type, n, k, 5);
    const Matrix x = Matrix::random(3, k, 6);
    Matrix want(3, n), got(3, n);
    matmul(reference, weight, activations(reference, x).view(), want.view());
    matmul(kernel(Shape::gemm), weight, activations(kernel(Shape::gemm), x).view(), got.view());
    ASSERT_EQ(difference(want.view(), got.view()), "") << "k = " << k;
  }
}

/// The activation that the kernel multiplies by, in f64: as rounded to its format.
std::vector<double> rounded(const KernelInfo& kernel, const Matrix& x, int64_t row) {
  const Matrix a = activations(kernel, x);
  std::vector<double> values(static_cast<size_t>(x.view().cols));
  for (size_t i = 0; i < values.size(); ++i) {
    switch (kernel.roundings.activation) {
      case Format::q8_block32: {
        const auto& block = reinterpret_cast<const ActivationBlock*>(a.view().raw_row(row))[i / kBlock];
        values[i] = static_cast<double>(block.d) * block.q[i % kBlock];
        break;
      }
      case Format::bf16:
        values[i] =
            static_cast<double>(bf16_to_f32(reinterpret_cast<const uint16_t*>(a.view().raw_row(row))[i]));
        break;
      default: values[i] = static_cast<double>(a.at(row, static_cast<int64_t>(i)));
    }
  }
  return values;
}

// Tolerance: the worst case of recursive summation, gamma_r * sum |w x| with r roundings on the longest path
// (Higham, Accuracy and Stability, section 3.1): one per k (two for the split f16) and one for the
// dequantised weight; with int8 blocks two per group of scales (two groups a block at most), one for d_w *
// d_x and one for s_x. Codes and minimum may cancel inside a weight, so their magnitudes count apart.
TEST_P(Matmul, IsWithinTheRoundingBoundOfTheExactSum) {
  const int64_t n = 40, k = row_length(GetParam().type, 288);
  const KernelInfo& gemm = kernel(Shape::gemm);
  const PackedWeight weight = random_weight(GetParam().type, n, k, 7);
  const Matrix x = Matrix::random(2, k, 8);
  Matrix got(2, n);
  matmul(gemm, weight, activations(gemm, x).view(), got.view());
  const bool int8 = gemm.roundings.activation == Format::q8_block32;
  const int groups = block_code(weight.type).groups;
  const double terms = static_cast<double>(int8 ? k / kBlock * groups : k);
  const double roundings = 2 * terms + (int8 ? 2 : 1);
  const std::vector<double> a = rounded(gemm, x, 1);
  std::vector<float> w(static_cast<size_t>(k));
  for (int64_t row = 0; row < n; ++row) {
    unpack_row(weight, row, w.data());
    double exact = 0, magnitude = 0;
    for (int64_t i = 0; i < k; ++i) {
      const double weight_i = static_cast<double>(w[static_cast<size_t>(i)]), a_i = a[static_cast<size_t>(i)];
      exact += weight_i * a_i;
      // |d u| + |m| <= |w| + 2 |m|, and |m| < 1 by file_rows.
      magnitude += (std::fabs(weight_i) + (block_code(weight.type).has_min ? 2 : 0)) * std::fabs(a_i);
    }
    // unpack_row itself rounds d u + m once to f32.
    const double bound = (roundings + 1) * 0x1p-24 * magnitude;
    ASSERT_NEAR(static_cast<double>(got.at(1, row)), exact, bound) << "row " << row;
    ASSERT_NE(exact, 0.0);
  }
}

TEST_P(Matmul, WritesOnlyTheRowsThatExist) {
  const int64_t n = 21, k = row_length(GetParam().type, 64), s = 13;
  const PackedWeight weight = random_weight(GetParam().type, n, k, 9);
  const Matrix x = activations(kernel(Shape::gemm), Matrix::random(s, k, 10));
  Matrix out(s, 48);  // wider than n
  for (int64_t r = 0; r < s; ++r) {
    for (int64_t c = 0; c < 48; ++c) out.at(r, c) = -7.0f;
  }
  View view = out.view();
  view.cols = n;
  matmul(kernel(Shape::gemm), weight, x.view(), view, 2);
  for (int64_t r = 0; r < s; ++r) {
    for (int64_t c = n; c < 48; ++c) ASSERT_EQ(out.at(r, c), -7.0f);
  }
}

TEST_P(Matmul, StampsTheNameOfTheKernelThatRan) {
  const int64_t k = row_length(GetParam().type, 32);
  const PackedWeight weight = random_weight(GetParam().type, 16, k, 11);
  const Matrix x = activations(kernel(Shape::gemm), Matrix::random(1, k, 12));
  Matrix out(1, 16);
  Launch launch;
  KernelArgs args;
  args.in[0] = x.view();
  args.out = out.view();
  args.weight = &weight;
  args.launch = &launch;
  for (Shape shape : {Shape::gemm, Shape::gemv}) {
    launch = {};
    run(kernel(shape), args, 3);
    EXPECT_EQ(launch.kernel, kernel(shape).name);
    EXPECT_EQ(launch.count, 1u);
  }
}

// NaN and infinity must not vanish in a quantised format.
TEST_P(Matmul, PassesNanAndInfinityOn) {
  const KernelInfo& gemm = kernel(Shape::gemm);
  const int64_t k = row_length(GetParam().type, 64);
  const PackedWeight weight = random_weight(GetParam().type, 16, k, 13);
  for (float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    Matrix x = Matrix::random(1, k, 14);
    x.at(0, 40) = bad;
    Matrix out(1, 16);
    matmul(gemm, weight, activations(gemm, x).view(), out.view());
    for (int64_t c = 0; c < 16; ++c) ASSERT_FALSE(std::isfinite(out.at(0, c))) << "output " << c;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Matmul, testing::ValuesIn(cases()), label);

// The builds without a bf16 unit against vdpbf16ps itself: rounding order, subnormal inputs, results that
// round up to the smallest normal number, cancellation, overflow.
TEST(Bf16Dot, EmulationHasTheBitsOfTheUnit) {
  if (!matmul_kernel(Isa::avx512, TensorType::bf16, Route::matrix, Shape::gemv)) {
    GTEST_SKIP() << "this CPU has no AVX512-BF16 unit to compare with";
  }
  Random random(15);
  const int64_t n = 1024, k = 6;
  for (int round = 0; round < 200; ++round) {
    std::vector<std::byte> rows(static_cast<size_t>(n * k * 2));
    Matrix x(1, k, Format::bf16);
    auto* xs = reinterpret_cast<uint16_t*>(x.view().data);
    // Exponents around which the products lie: anywhere, near 1, or where sums are subnormal.
    const int64_t middle = round % 4 == 0 ? -1 : round % 4 == 1 ? 127 : 64;
    const auto draw = [&] {
      if (middle < 0) return static_cast<uint16_t>(random.bits());
      return static_cast<uint16_t>((random.bits() & 0x807f) |
                                   static_cast<uint64_t>(middle - 3 + random.below(6)) << 7);
    };
    for (int64_t i = 0; i < k; ++i) xs[i] = draw();
    for (int64_t i = 0; i < n * k; ++i) {
      const uint16_t w = i % k >= 4 && round % 2 == 0
                             ? 0x8000 ^ static_cast<uint16_t>(rows[static_cast<size_t>(i * 2 - 8)])
                             : draw();
      std::memcpy(rows.data() + i * 2, &w, 2);
    }
    const PackedWeight weight = pack(TensorType::bf16, rows, n, k);
    Matrix want(1, n);
    matmul(*matmul_kernel(Isa::avx512, TensorType::bf16, Route::matrix, Shape::gemv), weight, x.view(),
           want.view());
    for (Isa isa : {Isa::scalar, Isa::avx2}) {
      Matrix got(1, n);
      matmul(*matmul_kernel(isa, TensorType::bf16, Route::matrix, Shape::gemv), weight, x.view(), got.view());
      ASSERT_EQ(difference(want.view(), got.view()), "") << name(isa) << ", round " << round;
    }
  }
}

// 2^-126 - c * 2^-150: the unit flushes what a subnormal rounding would bring back up to 2^-126.
TEST(Bf16Dot, FlushesByTheSizeBeforeSubnormalRounding) {
  for (Isa isa : isas()) {
    const KernelInfo* gemv = matmul_kernel(isa, TensorType::bf16, Route::matrix, Shape::gemv);
    if (!gemv) continue;
    const float factors[] = {0.5f, 0.75f, 1.0f};
    const float wants[] = {0x1p-126f, 0.0f, 0.0f};
    for (int i = 0; i < 3; ++i) {
      // In pairs of k: (2^-126 alone), then (-factor * 2^-150 alone).
      const uint16_t row[4] = {f32_to_bf16(0x1p-63f), 0, f32_to_bf16(-factors[i] * 0x1p-75f), 0};
      const PackedWeight weight = pack(TensorType::bf16, std::as_bytes(std::span(row)), 1, 4);
      Matrix x(1, 4, Format::bf16);
      const uint16_t values[4] = {f32_to_bf16(0x1p-63f), 0, f32_to_bf16(0x1p-75f), 0};
      std::memcpy(x.view().data, values, sizeof values);
      Matrix out(1, 1);
      matmul(*gemv, weight, x.view(), out.view());
      EXPECT_EQ(out.at(0, 0), wants[i]) << gemv->name << " factor " << factors[i];
    }
  }
}

}  // namespace
}  // namespace greta::test
