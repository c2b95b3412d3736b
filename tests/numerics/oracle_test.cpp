// The oracle's values against independent long double code: naive loops in the order of the formulas.
// Tolerance: f64 sums of at most 300 terms, so 300 * 2^-53 of the sum of magnitudes; 1e-13 relative to the
// largest value covers it.

#include "numerics/oracle.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "base/error.h"
#include "numerics/dequant.h"
#include "numerics/noise.h"
#include "numerics/test_tensors.h"

namespace greta {
namespace {

using test::RandomTensors;
using LongDoubles = std::vector<long double>;

void expect_close(const std::vector<double>& got, const LongDoubles& want) {
  ASSERT_EQ(got.size(), want.size());
  long double largest = 0;
  for (const long double v : want) largest = std::max(largest, std::isinf(v) ? 0 : std::abs(v));
  for (size_t i = 0; i < want.size(); ++i) {
    if (std::isinf(want[i])) {
      ASSERT_EQ(got[i], static_cast<double>(want[i])) << "element " << i;
    } else {
      ASSERT_LE(std::abs(got[i] - want[i]), 1e-13L * largest) << "element " << i << ": " << got[i];
    }
  }
}

LongDoubles naive_matmul(const Tensor& weight, const LongDoubles& x, int64_t rows) {
  const int64_t k = static_cast<int64_t>(weight.dims[0]);
  std::vector<double> w(static_cast<size_t>(k));
  LongDoubles y;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t j = 0; j < row_count(weight); ++j) {
      decode_row(weight, j, w);
      long double sum = 0;
      for (int64_t i = 0; i < k; ++i)
        sum += static_cast<long double>(w[static_cast<size_t>(i)]) * x[r * k + i];
      y.push_back(sum);
    }
  }
  return y;
}

/// q8_block32 by its definition, with the division itself where kernels may multiply by 1 / d.
LongDoubles naive_q8(const std::vector<float>& x) {
  LongDoubles out;
  for (size_t b = 0; b < x.size(); b += 32) {
    float amax = 0;
    for (size_t i = b; i < b + 32; ++i) amax = std::max(amax, std::abs(x[i]));
    const float d = amax / 127;
    for (size_t i = b; i < b + 32; ++i) {
      const long double q = d > 0 ? std::nearbyint(static_cast<long double>(x[i]) / d) : 0;
      out.push_back(q * d);
    }
  }
  return out;
}

struct Format_ {
  TensorType type;
  std::vector<size_t> halves;
};
const std::vector<Format_> kBlockTypes{
    {TensorType::q4_0, {0}},    {TensorType::q4_1, {0, 2}}, {TensorType::q5_0, {0}},
    {TensorType::q5_1, {0, 2}}, {TensorType::q8_0, {0}},    {TensorType::q2_k, {80, 82}},
    {TensorType::q3_k, {108}},  {TensorType::q4_k, {0, 2}}, {TensorType::q5_k, {0, 2}},
    {TensorType::q6_k, {208}},  {TensorType::iq4_nl, {0}},  {TensorType::iq4_xs, {0}}};

TEST(OracleMatmul, EveryTypeAndActivationFormat) {
  RandomTensors random(1);
  for (const Format_& format : kBlockTypes) {
    SCOPED_TRACE(name(format.type));
    // 19 rows: two whole tiles of eight and a part.
    const int64_t k = 256, n = 19, rows = 3;
    const test::Weight weight = random.weight(format.type, k, n, format.halves);
    const std::vector<float> x = random.normals(rows * k);
    expect_close(oracle::matmul(weight.tensor, x, rows, {}).value,
                 naive_matmul(weight.tensor, LongDoubles(x.begin(), x.end()), rows));
    expect_close(oracle::matmul(weight.tensor, x, rows, {.activation = Format::q8_block32}).value,
                 naive_matmul(weight.tensor, naive_q8(x), rows));
  }
}

TEST(OracleMatmul, SixteenBitActivationsAndPlainFloatWeights) {
  RandomTensors random(2);
  const int64_t k = 40, n = 5, rows = 2;
  for (const TensorType type : {TensorType::f32, TensorType::f16, TensorType::bf16}) {
    const test::Weight weight = random.float_weight(type, k, n);
    const std::vector<float> x = random.normals(rows * k);
    LongDoubles bf16, f16;
    for (const float v : x) {
      bf16.push_back(bf16_to_f32(f32_to_bf16(v)));
      f16.push_back(f16_to_f32(f32_to_f16(v)));
    }
    expect_close(oracle::matmul(weight.tensor, x, rows, {.activation = Format::bf16}).value,
                 naive_matmul(weight.tensor, bf16, rows));
    expect_close(oracle::matmul(weight.tensor, x, rows, {.activation = Format::f16}).value,
                 naive_matmul(weight.tensor, f16, rows));
  }
}

TEST(OracleMatmul, BiasIsAddedAndOutputRoundingWidensTheBound) {
  RandomTensors random(3);
  const test::Weight weight = random.float_weight(TensorType::f32, 64, 10);
  const std::vector<float> x = random.normals(64), bias = random.normals(10);
  const test::Weight bias_tensor = test::f32_weight(bias, 10);
  const Expected plain = oracle::matmul(weight.tensor, x, 1, {});
  const Expected with = oracle::matmul(weight.tensor, x, 1, {}, &bias_tensor.tensor);
  const Expected half = oracle::matmul(weight.tensor, x, 1, {.output = Format::f16});
  for (size_t i = 0; i < 10; ++i) {
    EXPECT_DOUBLE_EQ(with.value[i], plain.value[i] + bias[i]);
    EXPECT_GT(with.bound[i], plain.bound[i]);
    EXPECT_GE(half.bound[i], plain.bound[i] + 0x1p-11 * std::abs(plain.value[i]));
  }
}

TEST(OracleMatmul, ActivationsAtARoundingTieMayGoEitherWay) {
  // amax 127 makes d exactly 1; 2.5 is a tie, 2.4 is far from one.
  std::vector<float> x(32, 0), w(32, 0.125f);
  x[0] = 127;
  x[5] = 2.5f;
  std::vector<std::byte> bytes(34);
  const uint16_t d = f32_to_f16(0.125f);
  std::memcpy(bytes.data(), &d, 2);
  for (size_t i = 2; i < 34; ++i) bytes[i] = std::byte{1};
  const test::Weight weight = test::make_weight(TensorType::q8_0, 32, 1, bytes);
  const Expected tie = oracle::matmul(weight.tensor, x, 1, {.activation = Format::q8_block32});
  EXPECT_EQ(tie.value[0], 129 * 0.125);  // 127 and 2: ties go to even
  EXPECT_GE(tie.bound[0], 0.125);
  x[5] = 2.4f;
  const Expected clear = oracle::matmul(weight.tensor, x, 1, {.activation = Format::q8_block32});
  EXPECT_EQ(clear.value[0], 129 * 0.125);
  EXPECT_LT(clear.bound[0], 1e-4);
}

TEST(OracleMatmul, NonFiniteActivationsGiveNanInTheirRowOnly) {
  RandomTensors random(4);
  const test::Weight weight = random.weight(TensorType::q4_1, 64, 9, {0, 2});
  std::vector<float> x = random.normals(128);
  x[70] = std::numeric_limits<float>::infinity();
  const Expected y = oracle::matmul(weight.tensor, x, 2, {.activation = Format::q8_block32});
  for (size_t i = 0; i < 9; ++i) {
    EXPECT_FALSE(std::isnan(y.value[i]));
    EXPECT_TRUE(std::isnan(y.value[9 + i]));
  }
}

TEST(OracleMatmul, WrongShapesAreInputErrors) {
  RandomTensors random(5);
  const test::Weight weight = random.float_weight(TensorType::f32, 8, 4);
  const std::vector<float> x(15);
  EXPECT_THROW(oracle::matmul(weight.tensor, x, 2, {}), Error);
  const test::Weight bias = test::f32_weight({1, 2, 3}, 3);
  EXPECT_THROW(oracle::matmul(weight.tensor, std::vector<float>(8), 1, {}, &bias.tensor), Error);
}

TEST(OracleNorm, EqualsTheFormula) {
  RandomTensors random(6);
  const int64_t n = 48;
  const std::vector<float> x = random.normals(3 * n), w = random.normals(n);
  const test::Weight weight = test::f32_weight(w, n);
  const long double eps = 1e-5L;
  LongDoubles want;
  for (int64_t r = 0; r < 3; ++r) {
    long double sum = 0;
    for (int64_t i = 0; i < n; ++i) sum += static_cast<long double>(x[r * n + i]) * x[r * n + i];
    for (int64_t i = 0; i < n; ++i) want.push_back(x[r * n + i] / std::sqrt(sum / n + eps) * w[i]);
  }
  expect_close(oracle::rms_norm(x, weight.tensor, 1e-5).value, want);
  EXPECT_THROW(oracle::rms_norm(std::vector<float>(47), weight.tensor, 1e-5), Error);
}

TEST(OracleRope, BothPairingsAtSmallAndLargePositions) {
  RandomTensors random(7);
  for (const bool adjacent : {true, false}) {
    for (const int64_t position : {int64_t{0}, int64_t{1}, int64_t{131071}}) {
      const oracle::RopeShape shape{2, 12, 8, 10000, adjacent};
      const std::vector<float> x = random.normals(2 * 24);
      LongDoubles want(x.begin(), x.end());
      for (int64_t row = 0; row < 2; ++row) {
        for (int64_t head = 0; head < 2; ++head) {
          for (int64_t i = 0; i < 4; ++i) {
            const int64_t start = row * 24 + head * 12;
            const int64_t a = start + (adjacent ? 2 * i : i), b = start + (adjacent ? 2 * i + 1 : i + 4);
            const long double angle = (position + row) * std::pow(10000.0L, -2.0L * i / 8);
            want[a] = x[a] * std::cos(angle) - x[b] * std::sin(angle);
            want[b] = x[a] * std::sin(angle) + x[b] * std::cos(angle);
          }
        }
      }
      // The f64 angle itself carries 1e-16 of 1e5 radians.
      const Expected got = oracle::rope(x, shape, position);
      for (size_t i = 0; i < want.size(); ++i) {
        EXPECT_NEAR(got.value[i], static_cast<double>(want[i]),
                    1e-15 + 2e-16 * static_cast<double>(position) * 4);
        if (i % 12 >= 8) {
          EXPECT_EQ(got.bound[i], 0) << "dimensions that are not rotated are copies";
        }
      }
    }
  }
}

TEST(OracleRope, ForeignAnglesWidenTheBoundWithThePosition) {
  oracle::RopeShape shape{1, 2, 2, 10000, true};
  const std::vector<float> x{1, 1};
  const double ours = oracle::rope(x, shape, 100000).bound[0];
  shape.angle_rounding = 3 * 0x1p-24;
  EXPECT_GT(oracle::rope(x, shape, 100000).bound[0], 1000 * ours);
  EXPECT_LT(oracle::rope(x, shape, 1).bound[0], 3 * ours);
}

const oracle::AttentionShape kAttention{4, 2, 11, 0.25};

TEST(OracleAttention, ScoresAreMaskedAndMapHeadsToGroups) {
  RandomTensors random(8);
  const int64_t rows = 3, n_pos = 13, position = 10;
  const std::vector<float> q = random.normals(rows * 44), keys = random.normals(n_pos * 22);
  LongDoubles want;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t h = 0; h < 4; ++h) {
      for (int64_t p = 0; p < n_pos; ++p) {
        long double sum = 0;
        for (int64_t d = 0; d < 11; ++d) {
          sum += static_cast<long double>(q[r * 44 + h * 11 + d]) * keys[p * 22 + h / 2 * 11 + d];
        }
        want.push_back(p > position + r ? -std::numeric_limits<long double>::infinity() : sum * 0.25L);
      }
    }
  }
  const Expected got = oracle::qk(q, keys, kAttention, position);
  expect_close(got.value, want);
  EXPECT_EQ(got.bound[12], 0);  // row 0 sees positions 0 .. 10
  EXPECT_GT(got.bound[10], 0);
}

TEST(OracleAttention, SoftmaxOfMaskedAndLargeScores) {
  const float inf = std::numeric_limits<float>::infinity();
  const std::vector<float> scores{1, 2, 3, -inf, 500, 499, -inf, -inf, 7, -inf, -inf, -inf};
  const long double e = std::exp(1.0L);
  const LongDoubles want{1 / (1 + e + e * e),
                         e / (1 + e + e * e),
                         e * e / (1 + e + e * e),
                         0,
                         e / (1 + e),
                         1 / (1 + e),
                         0,
                         0,
                         1,
                         0,
                         0,
                         0};
  const Expected got = oracle::softmax(scores, 4);
  expect_close(got.value, want);
  EXPECT_EQ(got.bound[3], 0);
}

TEST(OracleAttention, WeightedValuesStopAtTheRowsOwnPosition) {
  RandomTensors random(9);
  const int64_t rows = 2, n_pos = 7, position = 4;
  std::vector<float> weights = random.normals(rows * 4 * n_pos), values = random.normals(n_pos * 22);
  LongDoubles want;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t h = 0; h < 4; ++h) {
      for (int64_t d = 0; d < 11; ++d) {
        long double sum = 0;
        for (int64_t p = 0; p <= position + r; ++p) {
          sum += static_cast<long double>(weights[(r * 4 + h) * n_pos + p]) * values[p * 22 + h / 2 * 11 + d];
        }
        want.push_back(sum);
      }
    }
  }
  for (size_t i = 6 * 22; i < values.size(); ++i) values[i] = std::numeric_limits<float>::quiet_NaN();
  expect_close(oracle::pv(weights, values, kAttention, position).value, want);
}

TEST(OracleAttention, WeightsBeyondTheRowMayBeReadOrNot) {
  RandomTensors random(10);
  const int64_t n_pos = 7, position = 4;
  const std::vector<float> weights = random.normals(4 * n_pos), values = random.normals(n_pos * 22);
  const Expected own = oracle::pv(weights, values, kAttention, position);
  oracle::AttentionShape every = kAttention;
  every.to_last_weight = true;
  const Expected all = oracle::pv(weights, values, every, position);
  for (size_t i = 0; i < own.value.size(); ++i) {
    EXPECT_NE(own.value[i], all.value[i]);
    EXPECT_LE(std::abs(own.value[i] - all.value[i]), own.bound[i]);
    EXPECT_GT(std::abs(own.value[i] - all.value[i]), 100 * all.bound[i]);
  }
}

TEST(OracleAttention, WrongShapesAreInputErrors) {
  EXPECT_THROW(oracle::qk(std::vector<float>(43), std::vector<float>(22), kAttention, 0), Error);
  EXPECT_THROW(oracle::qk(std::vector<float>(44), std::vector<float>(), kAttention, 0), Error);
  EXPECT_THROW(oracle::softmax(std::vector<float>(5), 4), Error);
  EXPECT_THROW(oracle::pv(std::vector<float>(5), std::vector<float>(22), kAttention, 0), Error);
  EXPECT_THROW(oracle::pv(std::vector<float>(4), std::vector<float>(22), {4, 3, 11, 1}, 0), Error);
}

TEST(OracleKvWrite, RoundsOnceAndAllowsNothingElse) {
  const std::vector<float> k{1.0f + 0x1p-12f, 3}, v{1.0f + 0x1.8p-10f};
  const Expected f16 = oracle::kv_write(k, v, Format::f16);
  EXPECT_EQ(f16.value, (std::vector<double>{1, 3, 1 + 0x1p-9}));  // ties to even
  EXPECT_EQ(f16.bound, (std::vector<double>{0, 0, 0}));
  EXPECT_EQ(oracle::kv_write(k, v, Format::f32).value[0], 1 + 0x1p-12);
}

// d = 127 / 127 = 1: values at a tie may turn either way, by the scale; others not.
TEST(OracleKvWrite, Q8RoundsBlocksWithAnF16Scale) {
  std::vector<float> k(64, 3.25f), v(64, 0);
  k[0] = -127;
  k[1] = 2.5f;
  k[32] = 1000;     // 1000 / 127 = 7.874..., in f16 7.875
  v[0] = 0x1p-30f;  // a scale of 0
  v[33] = std::numeric_limits<float>::infinity();
  const Expected q8 = oracle::kv_write(k, v, Format::q8_0);
  ASSERT_EQ(q8.value.size(), 128u);
  EXPECT_EQ(q8.value[0], -127);
  EXPECT_EQ(q8.value[1], 2);
  EXPECT_EQ(q8.bound[1], 1);
  EXPECT_EQ(q8.value[2], 3);
  EXPECT_EQ(q8.bound[2], 0);
  EXPECT_EQ(q8.value[32], 127 * 7.875);
  EXPECT_EQ(q8.value[33], 0);
  EXPECT_EQ(q8.value[64], 0);
  EXPECT_EQ(q8.bound[64], 0);
  EXPECT_TRUE(std::isnan(q8.value[96])) << "a block that is not finite";
}

/// gpt-oss, model.py: the gate from above alone, up from both sides. Tolerance of expect_close().
TEST(OracleElementwise, SwigluOaiIsClampedAndAddsOne) {
  const std::vector<float> gate{0, 2, -9, 9, 1}, up{3, 9, -9, 0.5f, -1};
  LongDoubles want;
  for (size_t i = 0; i < gate.size(); ++i) {
    const long double g = std::min(gate[i], 7.0f), u = std::min(7.0f, std::max(-7.0f, up[i]));
    want.push_back(g / (1 + std::exp(-1.702L * g)) * (u + 1));
  }
  const Expected made = oracle::swiglu_oai_mul(gate, up);
  expect_close(made.value, want);
  EXPECT_EQ(made.value[4], 0);
  EXPECT_TRUE(std::isnan(oracle::swiglu_oai_mul(std::vector<float>{NAN}, std::vector<float>{1}).value[0]));
}

/// Tolerance: f64, 1e-14. The bound shrinks by the tanh's slope where that is flat, to its own error.
TEST(OracleSoftCap, IsATanhAndLeavesMasksAlone) {
  const double infinity = std::numeric_limits<double>::infinity();
  Expected scores{{1, -60, 500, -infinity}, {1e-6, 1e-6, 1e-6, 0}};
  oracle::soft_cap(50, Format::f32, false, scores);
  for (const auto& [i, x] : {std::pair<size_t, double>{0, 1}, {1, -60}, {2, 500}})
    EXPECT_NEAR(scores.value[i], 50 * std::tanh(x / 50), 1e-14 * 50);
  EXPECT_EQ(scores.value[3], -infinity);
  EXPECT_EQ(scores.bound[3], 0);
  EXPECT_GT(scores.bound[0], 1e-6);
  EXPECT_LT(scores.bound[0], 1.5e-6);
  EXPECT_GT(scores.bound[2], 50 * 4 * bounds::kU);
  EXPECT_LT(scores.bound[2], 50 * 8 * bounds::kU);
}

/// Tolerance: f64, 1e-15.
TEST(OracleSoftmax, ASinkIsInTheSumAlone) {
  const std::vector<float> scores{1, 2, -INFINITY, 1, 2, 3};
  const std::vector<double> sinks{0.5, 6};
  const Expected weights = oracle::softmax(scores, 3, 1, false, sinks);
  const double first = std::exp(1.0) + std::exp(2.0) + std::exp(0.5),
               second = std::exp(1.0) + std::exp(2.0) + std::exp(3.0) + std::exp(6.0);
  const std::vector<double> want{std::exp(1.0) / first,  std::exp(2.0) / first,  0,
                                 std::exp(1.0) / second, std::exp(2.0) / second, std::exp(3.0) / second};
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(weights.value[i], want[i], 1e-15) << i;
    EXPECT_LE(weights.bound[i], 64 * bounds::kU * want[i] + 2 * bounds::kTiny) << i;
  }
}

/// YaRN by its definition: of 8 pairs of base 10000 in a context of 64, beta 8 and 1 give the borders 0.21
/// and 2.02, which are rounded to 0 and 3. Tolerance: f64, 1e-15.
TEST(OracleRope, YarnSlowsDownWhatTurnsSeldom) {
  oracle::RopeShape shape{.head_dim = 16, .rope_dims = 16, .yarn = {4, 64, 8, 1, true}};
  const auto plain = [](int64_t pair) { return std::pow(10000.0, -static_cast<double>(pair) / 8); };
  const double share[] = {0, 1.0 / 3, 2.0 / 3, 1};
  for (int64_t pair = 0; pair < 4; ++pair) {
    const double s = share[pair];
    EXPECT_NEAR(oracle::rope_frequency(shape, pair), plain(pair) * (s / 4 + 1 - s), 1e-15) << pair;
  }
  shape.yarn.whole_borders = false;
  const double low = 16 * std::log(64 / (8 * 2 * std::numbers::pi)) / (2 * std::log(10000.0)),
               high = 16 * std::log(64 / (2 * std::numbers::pi)) / (2 * std::log(10000.0)),
               s = (1 - low) / (high - low);
  EXPECT_NEAR(oracle::rope_frequency(shape, 1), plain(1) * (s / 4 + 1 - s), 1e-15);
  shape.magnitude = 1.5;
  std::vector<float> x(16, 0);
  x[0] = 1;
  EXPECT_NEAR(oracle::rope(x, shape, 3).value[0], 1.5 * std::cos(3.0), 1e-15);
}

TEST(OracleElementwise, AddSiluAndEmbed) {
  const std::vector<float> a{1, -2}, b{0x1p-30f, 2};
  EXPECT_EQ(oracle::add(a, b).value, (std::vector<double>{1 + 0x1p-30, 0}));
  const std::vector<float> gate{0, 2, -2, 100, -100}, up{3, 3, 3, 3, 3};
  LongDoubles want;
  for (const float g : gate) want.push_back(3 * g / (1 + std::exp(-static_cast<long double>(g))));
  expect_close(oracle::silu_mul(gate, up).value, want);
  EXPECT_THROW(oracle::add(a, gate), Error);

  RandomTensors random(10);
  const test::Weight table = random.weight(TensorType::q4_1, 32, 5, {0, 2});
  const std::vector<int32_t> ids{4, 0};
  const Expected rows = oracle::embed(table.tensor, ids);
  std::vector<double> row(32);
  for (size_t r = 0; r < 2; ++r) {
    decode_row(table.tensor, ids[r], row);
    for (size_t i = 0; i < 32; ++i) EXPECT_EQ(rows.value[r * 32 + i], static_cast<float>(row[i]));
  }
  EXPECT_EQ(rows.bound, std::vector<double>(64, 0));
  EXPECT_THROW(oracle::embed(table.tensor, std::vector<int32_t>{5}), Error);
  EXPECT_THROW(oracle::embed(table.tensor, std::vector<int32_t>{-1}), Error);
}

TEST(NoiseRatio, ExactPlacesNeedNoBoundAndNanOfFiniteValuesNeverPasses) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const Expected expected{{1, 2, -inf, 3, 0}, {0.5, 0, 0, 1, 0}};
  const NoiseRatio clean = noise_ratio(std::vector<float>{1.25f, 2, -inf, 3, 0}, expected);
  EXPECT_EQ(clean.max, 0.5);
  EXPECT_EQ(clean.at, 0);
  EXPECT_EQ(clean.beyond, 0);
  const NoiseRatio wrong = noise_ratio(std::vector<float>{2, 2, -inf, nan, inf}, expected);
  EXPECT_EQ(wrong.max, inf);
  EXPECT_EQ(wrong.first_beyond, 0);
  EXPECT_EQ(wrong.beyond, 3);
  EXPECT_EQ(noise_ratio(std::vector<float>{1, 2.5f, -inf, 3, 0}, expected).max, inf);
}

TEST(NoiseRatio, WhatIsMadeFromNanOrHasNoBoundTellsNothing) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const Expected expected{{nan, nan, 1e39, 1}, {1, 0, inf, 0.5}};
  const NoiseRatio noise = noise_ratio(std::vector<float>{1, nan, inf, 1.25f}, expected);
  EXPECT_EQ(noise.max, 0.5);
  EXPECT_EQ(noise.untold, 3);
}

/// f32 sums that may be infinite on the way are not judged, those below are.
TEST(Overflow, OfAPartialSumTellsNothing) {
  const test::Weight weight = test::f32_weight({2, -2}, 2);
  const auto tells = [&](float x) {
    return oracle::matmul(weight.tensor, std::vector<float>{x, x}, 1, {}).tells(0);
  };
  EXPECT_TRUE(tells(1e37f));
  EXPECT_FALSE(tells(std::numeric_limits<float>::max()));
}

TEST(Overflow, OfANormsSquaresTellsNothing) {
  const test::Weight weight = test::f32_weight({1, 1}, 2);
  EXPECT_TRUE(oracle::rms_norm(std::vector<float>{1e18f, 1}, weight.tensor, 1e-5).tells(0));
  EXPECT_FALSE(oracle::rms_norm(std::vector<float>{1e20f, 1}, weight.tensor, 1e-5).tells(0));
}

/// A mask that is added to NaN does not hide it.
TEST(Overflow, AKeyThatIsNanTellsNothingOfItsScoresMaskedOrNot) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Expected scores = oracle::qk(std::vector<float>{1}, std::vector<float>{1, 2, nan}, {}, 0);
  EXPECT_TRUE(scores.tells(0));
  EXPECT_TRUE(scores.tells(1));  // masked: -inf
  EXPECT_FALSE(scores.tells(2));
}

}  // namespace
}  // namespace greta
