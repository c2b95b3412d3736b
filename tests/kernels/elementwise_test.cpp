#include <gtest/gtest.h>

#include <cfenv>

#include "kernels/kernel_cases.h"

namespace greta::test {
namespace {

Matrix run_op(Isa isa, OpKind op, const Matrix& a, const Matrix* b = nullptr, OpParams params = {},
              int parts = 1, int64_t position = 0) {
  Matrix out(a.view().rows, a.view().cols);
  KernelArgs args;
  args.in[0] = a.view();
  if (b) args.in[1] = b->view();
  args.out = out.view();
  args.params = params;
  args.position = position;
  run(*row_kernel(op, isa), args, parts);
  return out;
}

Matrix quantized(Isa isa, const Matrix& x, Format format, int parts = 1) {
  Matrix out(x.view().rows, x.view().cols, format);
  std::memset(out.view().data, 0, static_cast<size_t>(out.view().rows * out.view().stride));  // row padding
  KernelArgs args;
  args.in[0] = x.view();
  args.out = out.view();
  run(*row_kernel(OpKind::quantize, isa, format), args, parts);
  return out;
}

bool same_bytes(const Matrix& a, const Matrix& b) {
  return std::memcmp(a.view().data, b.view().data, static_cast<size_t>(a.view().rows * a.view().stride)) == 0;
}

class Elementwise : public testing::TestWithParam<Isa> {};

TEST_P(Elementwise, QuantizeFollowsItsDefinition) {
  Matrix x = Matrix::random(9, 96, 40, 3);
  for (int64_t i = 0; i < 32; ++i) {
    x.at(1, i) = 0;                                          // d = 0
    x.at(2, i) = static_cast<float>(i) + 0.5f;               // ties, when the largest is 127
    x.at(3, i) = static_cast<float>(i % 3 - 1) * 0x1p-149f;  // subnormal: d underflows to 0
    x.at(4, i) = static_cast<float>(i % 5 - 2) * 0x1p-144f;  // d is subnormal and coarse
    x.at(5, i) = static_cast<float>(i - 16) * 1e37f;
  }
  x.at(2, 3) = -127;
  const Matrix out = quantized(GetParam(), x, Format::q8_block32);
  for (int64_t r = 0; r < 9; ++r) {
    for (int64_t b = 0; b < 3; ++b) {
      const auto& block = reinterpret_cast<const ActivationBlock*>(out.view().raw_row(r))[b];
      float top = 0;
      for (int64_t i = 0; i < 32; ++i) top = std::max(top, std::fabs(x.at(r, b * 32 + i)));
      const float d = top / 127.0f;
      ASSERT_EQ(block.d, d) << r;
      int sum = 0;
      for (int64_t i = 0; i < 32; ++i) {
        const float q =
            d == 0 ? 0.0f : std::nearbyintf(std::min(127.0f, std::max(-127.0f, x.at(r, b * 32 + i) / d)));
        if (d == 0 && x.at(r, b * 32 + i) != 0)
          continue;  // x / 0 saturates; its product with d is 0 all the same
        ASSERT_EQ(block.q[i], static_cast<int>(q)) << "row " << r << " element " << b * 32 + i;
      }
      for (int64_t i = 0; i < 16; ++i) sum += block.q[i];
      ASSERT_EQ(block.sum_low, sum);
      for (int64_t i = 16; i < 32; ++i) sum += block.q[i];
      ASSERT_EQ(block.sum, sum);
      ASSERT_EQ(block.s, d * static_cast<float>(sum));
    }
  }
}

TEST_P(Elementwise, QuantizeToBf16RoundsToNearestEven) {
  Matrix x = Matrix::random(3, 37, 41);
  x.at(0, 0) = 1 + 0x1p-8f;
  x.at(0, 1) = 1 + 0x1.8p-7f;
  x.at(0, 2) = 0x1p-140f;  // subnormals stay
  x.at(0, 3) = 3.4e38f;
  x.at(0, 36) = INFINITY;
  const Matrix out = quantized(GetParam(), x, Format::bf16, 2);
  for (int64_t r = 0; r < 3; ++r) {
    const auto* row = reinterpret_cast<const uint16_t*>(out.view().raw_row(r));
    for (int64_t i = 0; i < 37; ++i) ASSERT_EQ(row[i], f32_to_bf16(x.at(r, i)));
    ASSERT_EQ(row[37], 0) << "padding";
  }
}

TEST_P(Elementwise, EveryIsaAndThreadCountGivesTheBitsOfTheScalarBuild) {
  const Isa isa = GetParam();
  for (int64_t k : {1, 15, 16, 64, 100, 576}) {
    const Matrix a = Matrix::random(7, k, 42, 4), b = Matrix::random(7, k, 43, 2);
    OpParams params;
    params.eps = 1e-5f;
    for (int parts : {1, 3, 8}) {
      for (OpKind op :
           {OpKind::rms_norm, OpKind::add, OpKind::silu_mul, OpKind::gelu_mul, OpKind::swiglu_oai_mul}) {
        ASSERT_EQ(difference(run_op(Isa::scalar, op, a, &b, params).view(),
                             run_op(isa, op, a, &b, params, parts).view()),
                  "")
            << name(op) << " " << k;
      }
      ASSERT_TRUE(
          same_bytes(quantized(Isa::scalar, a, Format::bf16), quantized(isa, a, Format::bf16, parts)));
      if (k % 32 == 0) {
        ASSERT_TRUE(same_bytes(quantized(Isa::scalar, a, Format::q8_block32),
                               quantized(isa, a, Format::q8_block32, parts)));
      }
    }
  }
}

// exp by way of silu: a stride over all bit patterns, with the special values.
TEST_P(Elementwise, ExpHasTheSameBitsOnEveryIsaForAllKindsOfInputs) {
  const int64_t cols = 4096;
  Matrix x(1, cols), ones(1, cols);
  for (int64_t c = 0; c < cols; ++c) ones.at(0, c) = 1;
  uint32_t pattern = 0;
  for (int round = 0; round < 32; ++round) {
    for (int64_t c = 0; c < cols; ++c) x.at(0, c) = std::bit_cast<float>(pattern += 32749);
    if (round == 0) {
      const float special[] = {0.0f,   -0.0f,   INFINITY, -INFINITY, std::nanf(""),
                               88.73f, -88.73f, -103.97f, -104.1f};
      std::memcpy(x.view().data, special, sizeof special);
    }
    ASSERT_EQ(difference(run_op(Isa::scalar, OpKind::silu_mul, x, &ones).view(),
                         run_op(GetParam(), OpKind::silu_mul, x, &ones).view()),
              "");
  }
}

// Tolerance: K / 16 FMAs and 4 additions of positive terms, two divisions, one root, three products: each
// half an ulp, the sum's error halved by the root.
TEST_P(Elementwise, RmsNormIsWithinItsRoundingBound) {
  const int64_t k = 1000;
  const Matrix x = Matrix::random(3, k, 44, 5), w = Matrix::random(1, k, 45);
  OpParams params;
  params.eps = 1e-5f;
  const Matrix out = run_op(GetParam(), OpKind::rms_norm, x, &w, params);
  for (int64_t r = 0; r < 3; ++r) {
    double squares = 0;
    for (int64_t i = 0; i < k; ++i) squares += static_cast<double>(x.at(r, i)) * x.at(r, i);
    const double scale = 1 / std::sqrt(squares / k + static_cast<double>(params.eps));
    for (int64_t i = 0; i < k; ++i) {
      const double exact = x.at(r, i) * scale * w.at(0, i);
      ASSERT_NEAR(out.at(r, i), exact, ((k / 16.0 + 7) / 2 + 6) * 0x1p-24 * std::fabs(exact));
    }
  }
}

/// The two-part frequencies of RoPE, as the engine hands them over.
std::vector<float> turns(int64_t dims, double base) {
  std::vector<float> table;
  for (int64_t i = 0; i < dims / 2; ++i) {
    const long double t =
        std::pow(static_cast<long double>(base), -2.0L * i / dims) / (2 * 3.14159265358979323846L);
    table.push_back(static_cast<float>(t));
    table.push_back(static_cast<float>(t - static_cast<long double>(table.back())));
  }
  return table;
}

// Tolerance 1.2e-7: the angle is good to 2^-26 quarter turns (2.4e-8) plus the second part's own rounding,
// the polynomials to one ulp of results below 1 (6e-8).
TEST_P(Elementwise, RopeTableIsGoodAtFarPositions) {
  const int64_t dims = 64;
  const std::vector<float> table = turns(dims, 100000);
  OpParams params;
  params.rope_dims = dims;
  params.rope_turns = table.data();
  OpParams halves = params;
  halves.rope_adjacent = false;
  for (int64_t position : {0, 1, 37, 8191, 131071, 1 << 20}) {
    const Matrix shape(5, dims);
    const Matrix apart = run_op(GetParam(), OpKind::rope_table, shape, nullptr, halves, 2, position);
    const Matrix out = run_op(GetParam(), OpKind::rope_table, shape, nullptr, params, 2, position);
    ASSERT_EQ(difference(run_op(Isa::scalar, OpKind::rope_table, shape, nullptr, params, 1, position).view(),
                         out.view()),
              "");
    for (int64_t r = 0; r < 5; ++r) {
      for (int64_t i = 0; i < dims / 2; ++i) {
        const long double angle = (position + r) * std::pow(100000.0L, -2.0L * i / dims);
        ASSERT_NEAR(out.at(r, 2 * i), static_cast<double>(std::cos(angle)), 1.2e-7)
            << position + r << " pair " << i;
        ASSERT_NEAR(out.at(r, 2 * i + 1), static_cast<double>(std::sin(angle)), 1.2e-7)
            << position + r << " pair " << i;
        ASSERT_TRUE(same(apart.at(r, i), out.at(r, 2 * i)) &&
                    same(apart.at(r, dims / 2 + i), out.at(r, 2 * i + 1)))
            << "halves, pair " << i;
      }
    }
  }
}

TEST_P(Elementwise, RopeTurnsAdjacentPairsAndLeavesTheRest) {
  for (const auto& [head_dim, dims] : {std::pair<int64_t, int64_t>{64, 64}, {80, 20}, {16, 10}, {32, 32}}) {
    const Matrix x = Matrix::random(4, 3 * head_dim, 46), table = Matrix::random(4, head_dim, 47);
    OpParams params;
    params.head_dim = head_dim;
    params.rope_dims = dims;
    const Matrix out = run_op(GetParam(), OpKind::rope, x, &table, params, 2);
    for (int64_t r = 0; r < 4; ++r) {
      for (int64_t c = 0; c < 3 * head_dim; ++c) {
        const int64_t d = c % head_dim;
        const float cos = table.at(r, d / 2 * 2), sin = table.at(r, d / 2 * 2 + 1);
        const float mate = x.at(r, c ^ 1);
        const float want =
            d >= dims ? x.at(r, c) : std::fma(x.at(r, c), cos, d % 2 == 0 ? -(mate * sin) : mate * sin);
        ASSERT_TRUE(same(out.at(r, c), want)) << "row " << r << " col " << c;
      }
    }
  }
}

TEST_P(Elementwise, RopeTurnsHalvesWithTheBitsOfAdjacentPairs) {
  for (const auto& [head_dim, dims] : {std::pair<int64_t, int64_t>{64, 64}, {80, 20}, {16, 10}, {256, 256}}) {
    const Matrix x = Matrix::random(4, 3 * head_dim, 46), table = Matrix::random(4, dims, 47);
    // The same pairs and turns in the other order.
    Matrix pairs(4, 3 * head_dim), pair_table(4, dims);
    const auto other = [half = dims / 2, dims](int64_t d) {
      return d >= dims ? d : d < half ? 2 * d : 2 * (d - half) + 1;
    };
    for (int64_t r = 0; r < 4; ++r) {
      for (int64_t d = 0; d < dims; ++d) pair_table.at(r, other(d)) = table.at(r, d);
      for (int64_t c = 0; c < 3 * head_dim; ++c)
        pairs.at(r, c / head_dim * head_dim + other(c % head_dim)) = x.at(r, c);
    }
    OpParams params;
    params.head_dim = head_dim;
    params.rope_dims = dims;
    const Matrix want = run_op(Isa::scalar, OpKind::rope, pairs, &pair_table, params, 1);
    params.rope_adjacent = false;
    const Matrix out = run_op(GetParam(), OpKind::rope, x, &table, params, 2);
    for (int64_t r = 0; r < 4; ++r) {
      for (int64_t c = 0; c < 3 * head_dim; ++c) {
        ASSERT_TRUE(same(out.at(r, c), want.at(r, c / head_dim * head_dim + other(c % head_dim))))
            << "row " << r << " col " << c;
      }
    }
  }
}

// Tolerance: GELU's formula in double;
// e^w errs by 2 ulp and w by 4 roundings (docs/numerics.md), 4 more after it.
TEST_P(Elementwise, GeluIsItsFormulaFarIntoTheNegative) {
  Matrix x(1, 4001), ones(1, 4001);
  for (int64_t i = 0; i < 4001; ++i) {
    x.at(0, i) = -10 + 0.005f * static_cast<float>(i);
    ones.at(0, i) = 1;
  }
  const Matrix out = run_op(GetParam(), OpKind::gelu_mul, x, &ones);
  for (int64_t i = 0; i < 4001; ++i) {
    const double g = static_cast<double>(x.at(0, i));
    const double w = -2 * std::sqrt(2 / 3.14159265358979323846) * (g + 0.044715 * g * g * g);
    const double want = g / (1 + std::exp(w));
    ASSERT_NEAR(out.at(0, i), want, std::abs(want) * (8 + 4 * std::abs(w)) * 0x1p-24 + 0x1p-126) << g;
  }
}

TEST_P(Elementwise, NormsOfHeadsAreNormsOfTheirRows) {
  const Matrix x = Matrix::random(3, 4 * 24, 60), w = Matrix::random(1, 24, 61);
  OpParams params;
  params.eps = 1e-6f;
  const Matrix out = run_op(GetParam(), OpKind::rms_norm, x, &w, params, 2);
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t h = 0; h < 4; ++h) {
      Matrix head(1, 24);
      for (int64_t i = 0; i < 24; ++i) head.at(0, i) = x.at(r, h * 24 + i);
      const Matrix want = run_op(Isa::scalar, OpKind::rms_norm, head, &w, params);
      for (int64_t i = 0; i < 24; ++i) ASSERT_TRUE(same(out.at(r, h * 24 + i), want.at(0, i)));
    }
  }
}

TEST_P(Elementwise, AddRoundsAScaledBranchOnce) {
  const Matrix a = Matrix::random(2, 37, 62), b = Matrix::random(2, 37, 63);
  for (const float scale : {1.0f, 0.22f}) {
    OpParams params;
    params.scale = scale;
    const Matrix out = run_op(GetParam(), OpKind::add, a, &b, params);
    for (int64_t i = 0; i < 37; ++i)
      ASSERT_TRUE(
          same(out.at(1, i), scale == 1 ? a.at(1, i) + b.at(1, i) : std::fma(b.at(1, i), scale, a.at(1, i))));
  }
}

TEST_P(Elementwise, EmbedIsTheUnpackedRow) {
  for (TensorType type : kTypes) {
    const int64_t k = row_length(type, 64);
    const PackedWeight weight = random_weight(type, 50, k, 48);
    Matrix ids(3, 1, Format::i32), out(3, k);
    const int32_t tokens[] = {49, 0, 17};
    for (int64_t r = 0; r < 3; ++r) std::memcpy(ids.view().raw_row(r), &tokens[r], 4);
    KernelArgs args;
    args.in[0] = ids.view();
    args.out = out.view();
    args.weight = &weight;
    const KernelInfo* kernel = find_kernel(cpu_kernels(), {OpKind::embed, GetParam(), type}, nullptr);
    ASSERT_NE(kernel, nullptr);
    run(*kernel, args, 2);
    Matrix want(1, k);
    for (int64_t r = 0; r < 3; ++r) {
      unpack_row(weight, tokens[r], want.view().row(0));
      ASSERT_EQ(difference(want.view(), out.rows(r, 1)), "") << name(type);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Elementwise, testing::ValuesIn(isas()),
                         [](const auto& test) { return std::string(name(test.param)); });

}  // namespace
}  // namespace greta::test
