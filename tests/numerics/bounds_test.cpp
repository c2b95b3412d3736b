// The bounds from both sides, by property: f32 arithmetic in the order of the kernels' contracts, written
// here as plain scalar loops, never exceeds its bound (r <= 1; the chance that an honest run does is 1e-18 an
// element), and over all draws comes near enough to it (largest r > 0.02) that small errors show.
// `--gtest_filter=Bounds.*` prints the table of docs/numerics.md.

#include "numerics/bounds.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numbers>

#include "numerics/dequant.h"
#include "numerics/noise.h"
#include "numerics/test_tensors.h"

namespace greta {
namespace {

using Floats = std::vector<float>;
using test::RandomTensors;

/// The ratios of one stage over all draws.
class Ratios {
 public:
  explicit Ratios(const char* stage) : stage_(stage) {}

  /// Takes a draw in; false when it breaks the bound.
  bool add(const Floats& observed, const Expected& expected) {
    for (size_t i = 0; i < observed.size(); ++i) {
      if (expected.bound[i] > 0)
        ratios_.push_back(std::abs(observed[i] - expected.value[i]) / expected.bound[i]);
    }
    return noise_ratio(observed, expected).max <= 1;
  }

  double max() const { return *std::max_element(ratios_.begin(), ratios_.end()); }

  void print() {
    const auto quantile = [&](double q) {
      const auto at =
          ratios_.begin() + static_cast<std::ptrdiff_t>(q * static_cast<double>(ratios_.size() - 1));
      std::nth_element(ratios_.begin(), at, ratios_.end());
      return *at;
    };
    std::printf("| %-28s | %9zu | %.3f | %.3f | %.3f |\n", stage_, ratios_.size(), quantile(0.5),
                quantile(0.99), max());
  }

 private:
  const char* stage_;
  std::vector<double> ratios_;
};

/// Runs `draw` on many seeds: it makes inputs, computes in f32 and calls Ratios::add.
void check_bound(const char* stage, const std::function<bool(RandomTensors&, Ratios&)>& draw) {
  Ratios ratios(stage);
  const bool held = rc::check(stage, [&] {
    RandomTensors random(*rc::gen::arbitrary<uint64_t>());
    RC_ASSERT(draw(random, ratios));
  });
  EXPECT_TRUE(held) << stage << ": an honest f32 computation exceeds its bound";
  EXPECT_GT(ratios.max(), 0.02) << stage << ": the bound is too loose to show small errors";
  ratios.print();
}

/// Activations as they are met: of one scale, with a few large channels.
Floats activations(RandomTensors& random, int64_t count) {
  Floats x = random.normals(count, static_cast<float>(std::exp2(random.uniform() * 8 - 4)));
  for (int64_t i = random.below(3); i > 0; --i) x[static_cast<size_t>(random.below(count))] *= 50;
  return x;
}

Floats row_as_f32(const Tensor& weight, int64_t row) {
  std::vector<double> exact(weight.dims[0]);
  decode_row(weight, row, exact);
  return Floats(exact.begin(), exact.end());
}

using Rounding = float (*)(float);
float as_f32(float x) { return x; }
float as_f16(float x) { return f16_to_f32(f32_to_f16(x)); }
float as_bf16(float x) { return bf16_to_f32(f32_to_bf16(x)); }

/// FMAs in order of k, on activations and partial sums rounded as given.
Floats chain(const Tensor& weight, const Floats& x, Rounding activation, Rounding accumulator) {
  Floats y;
  const size_t k = weight.dims[0];
  for (size_t r = 0; r < x.size() / k; ++r) {
    for (int64_t j = 0; j < row_count(weight); ++j) {
      const Floats w = row_as_f32(weight, j);
      float sum = 0;
      for (size_t i = 0; i < k; ++i) sum = accumulator(std::fma(w[i], activation(x[r * k + i]), sum));
      y.push_back(sum);
    }
  }
  return y;
}

TEST(Bounds, MatmulVector) {
  check_bound("matmul f32 chain, q8_0", [](RandomTensors& random, Ratios& ratios) {
    const int64_t k = 32 * (1 + random.below(64));
    const test::Weight w = random.weight(TensorType::q8_0, k, 24, {0});
    const Floats x = activations(random, k);
    return ratios.add(chain(w.tensor, x, as_f32, as_f32), oracle::matmul(w.tensor, x, 1, {}));
  });
  check_bound("matmul f32 chain, q4_1", [](RandomTensors& random, Ratios& ratios) {
    const int64_t k = 32 * (1 + random.below(64));
    const test::Weight w = random.weight(TensorType::q4_1, k, 24, {0, 2});
    const Floats x = activations(random, k);
    return ratios.add(chain(w.tensor, x, as_f32, as_f32), oracle::matmul(w.tensor, x, 1, {}));
  });
}

TEST(Bounds, MatmulOfOneSign) {
  // All terms positive: the partial sums grow to the end, the worst case for a chain.
  check_bound("matmul f32 chain, positive", [](RandomTensors& random, Ratios& ratios) {
    const int64_t k = 1 + random.below(2000);
    Floats w = random.normals(k * 8), x = random.normals(k);
    for (float& v : w) v = std::abs(v);
    for (float& v : x) v = std::abs(v);
    const test::Weight weight = test::f32_weight(w, k);
    return ratios.add(chain(weight.tensor, x, as_f32, as_f32), oracle::matmul(weight.tensor, x, 1, {}));
  });
}

TEST(Bounds, MatmulInAnotherOrder) {
  // What an engine of unknown order may do:
  // 16 partial sums, products rounded before they are added, a tree at the end.
  check_bound("matmul f32, 16 partial sums", [](RandomTensors& random, Ratios& ratios) {
    const int64_t k = 16 * (4 + random.below(100));
    const test::Weight weight = random.float_weight(TensorType::f32, k, 8);
    const Floats x = activations(random, k);
    Floats y;
    for (int64_t j = 0; j < 8; ++j) {
      const Floats w = row_as_f32(weight.tensor, j);
      float lanes[16] = {};
      for (size_t i = 0; i < w.size(); ++i) lanes[i % 16] += w[i] * x[i];
      for (int half = 8; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
      }
      y.push_back(lanes[0]);
    }
    return ratios.add(y, oracle::matmul(weight.tensor, x, 1, {}));
  });
}

TEST(Bounds, MatmulBf16) {
  check_bound("matmul bf16 inputs", [](RandomTensors& random, Ratios& ratios) {
    const int64_t k = 2 * (1 + random.below(1000));
    const test::Weight w = random.float_weight(TensorType::bf16, k, 16);
    const Floats x = activations(random, k);
    return ratios.add(chain(w.tensor, x, as_bf16, as_f32),
                      oracle::matmul(w.tensor, x, 1, {.activation = Format::bf16}));
  });
}

TEST(Bounds, MatmulF16WeightsInABf16Unit) {
  check_bound("matmul bf16 inputs, f16 w", [](RandomTensors& random, Ratios& ratios) {
    const int64_t k = 2 * (1 + random.below(1000));
    const test::Weight weight = random.float_weight(TensorType::f16, k, 16);
    const Floats x = activations(random, k);
    Floats y;
    for (int64_t j = 0; j < 16; ++j) {
      const Floats w = row_as_f32(weight.tensor, j);
      float sum = 0;
      for (size_t i = 0; i < w.size(); ++i) {
        const float high = std::bit_cast<float>(std::bit_cast<uint32_t>(w[i]) & 0xffff0000u);
        sum = std::fma(high, as_bf16(x[i]), sum);
        sum = std::fma(w[i] - high, as_bf16(x[i]), sum);
      }
      y.push_back(sum);
    }
    return ratios.add(y, oracle::matmul(weight.tensor, x, 1, {.activation = Format::bf16}));
  });
}

TEST(Bounds, MatmulNarrowAccumulators) {
  check_bound("matmul f16 accumulator", [](RandomTensors& random, Ratios& ratios) {
    const int64_t k = 1 + random.below(800);
    const test::Weight w = random.float_weight(TensorType::f16, k, 16);
    const Floats x = random.normals(k);
    return ratios.add(
        chain(w.tensor, x, as_f16, as_f16),
        oracle::matmul(w.tensor, x, 1,
                       {.activation = Format::f16, .accumulator = Format::f16, .output = Format::f16}));
  });
  check_bound("matmul bf16 accumulator", [](RandomTensors& random, Ratios& ratios) {
    const int64_t k = 1 + random.below(200);
    const test::Weight w = random.float_weight(TensorType::bf16, k, 16);
    const Floats x = random.normals(k);
    return ratios.add(
        chain(w.tensor, x, as_bf16, as_bf16),
        oracle::matmul(w.tensor, x, 1,
                       {.activation = Format::bf16, .accumulator = Format::bf16, .output = Format::bf16}));
  });
}

TEST(Bounds, MatmulRoundedOutput) {
  check_bound("matmul f32 chain, bf16 output", [](RandomTensors& random, Ratios& ratios) {
    const int64_t k = 64 + random.below(500);
    const test::Weight w = random.float_weight(TensorType::f32, k, 16);
    const Floats x = random.normals(k);
    Floats y = chain(w.tensor, x, as_f32, as_f32);
    for (float& v : y) v = as_bf16(v);
    return ratios.add(y, oracle::matmul(w.tensor, x, 1, {.output = Format::bf16}));
  });
}

/// One block of 32 activations as base/rounding.h defines q8_block32.
struct Q8Block {
  float d;
  int q[32];
  int sum;
};
Q8Block quantize(const float* x) {
  Q8Block block{};
  float amax = 0;
  for (int i = 0; i < 32; ++i) amax = std::max(amax, std::abs(x[i]));
  block.d = amax / 127;
  for (int i = 0; i < 32; ++i) {
    block.q[i] = block.d > 0 ? static_cast<int>(std::nearbyint(x[i] / block.d)) : 0;
    block.sum += block.q[i];
  }
  return block;
}

float half_at(const std::byte* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return f16_to_f32(bits);
}

/// Exact integer dot per block, then one FMA for the scale
/// and one for the minimum (q4_1) or none (q4_0, q8_0).
Floats integer_dots(const Tensor& weight, const Floats& x) {
  const size_t k = weight.dims[0], block_bytes = info(weight.type).bytes;
  std::vector<Q8Block> blocks;
  for (size_t i = 0; i < k; i += 32) blocks.push_back(quantize(x.data() + i));
  Floats y;
  const std::byte* p = weight.data.data();
  for (int64_t j = 0; j < row_count(weight); ++j) {
    float sum = 0;
    for (size_t b = 0; b < blocks.size(); ++b, p += block_bytes) {
      int dot = 0;
      for (int i = 0; i < 32; ++i) {
        const auto nibbles = [&](size_t at) {
          const int byte = static_cast<int>(p[at + static_cast<size_t>(i % 16)]);
          return i < 16 ? byte & 15 : byte >> 4;
        };
        const int q = weight.type == TensorType::q8_0   ? static_cast<int8_t>(p[2 + static_cast<size_t>(i)])
                      : weight.type == TensorType::q4_0 ? nibbles(2) - 8
                                                        : nibbles(4);
        dot += q * blocks[b].q[i];
      }
      sum = std::fma(half_at(p) * blocks[b].d, static_cast<float>(dot), sum);
      if (weight.type == TensorType::q4_1) {
        sum = std::fma(half_at(p + 2), blocks[b].d * static_cast<float>(blocks[b].sum), sum);
      }
    }
    y.push_back(sum);
  }
  return y;
}

TEST(Bounds, MatmulQuantised) {
  struct Case {
    const char* stage;
    TensorType type;
    std::vector<size_t> halves;
  };
  for (const Case& c : {Case{"matmul q8_block32, q4_0", TensorType::q4_0, {0}},
                        Case{"matmul q8_block32, q4_1", TensorType::q4_1, {0, 2}},
                        Case{"matmul q8_block32, q8_0", TensorType::q8_0, {0}}}) {
    check_bound(c.stage, [&](RandomTensors& random, Ratios& ratios) {
      const int64_t k = 32 * (1 + random.below(64));
      const test::Weight w = random.weight(c.type, k, 32, c.halves);
      const Floats x = activations(random, k);
      return ratios.add(integer_dots(w.tensor, x),
                        oracle::matmul(w.tensor, x, 1, {.activation = Format::q8_block32}));
    });
  }
}

TEST(Bounds, MatmulQuantisedAtTies) {
  // Multiples of d / 2 with d a power of two: half of all quotients are ties, and an engine that multiplies
  // by a slightly smaller 1 / d rounds them the other way. Without the tie terms this exceeds the bound.
  RandomTensors random(12);
  const int64_t k = 128;
  const test::Weight w = random.weight(TensorType::q8_0, k, 16, {0});
  Floats x(static_cast<size_t>(k)), nudged;
  for (size_t i = 0; i < x.size(); ++i) {
    x[i] = i % 32 == 0 ? 127.0f : 0.5f * static_cast<float>(random.below(200) - 100);
    nudged.push_back(x[i] * (1 - 0x1p-24f));
  }
  for (size_t i = 0; i < x.size(); i += 32) nudged[i] = x[i];
  const Expected expected = oracle::matmul(w.tensor, x, 1, {.activation = Format::q8_block32});
  const Floats y = integer_dots(w.tensor, x), other = integer_dots(w.tensor, nudged);
  EXPECT_NE(y, other);
  EXPECT_LE(noise_ratio(y, expected).max, 1);
  EXPECT_LE(noise_ratio(other, expected).max, 1);
}

/// 16 interleaved FMA chains, then a tree over lanes 8, 4, 2 and 1 apart.
float sum_of_products(const float* a, const float* b, size_t n) {
  float lanes[16] = {};
  for (size_t i = 0; i < n; ++i) lanes[i % 16] = std::fma(a[i], b[i], lanes[i % 16]);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

Floats norm_f32(const Floats& x, const Floats& w, float eps) {
  const size_t n = w.size();
  Floats y;
  for (size_t begin = 0; begin < x.size(); begin += n) {
    const float mean = sum_of_products(x.data() + begin, x.data() + begin, n) / static_cast<float>(n);
    const float scale = 1 / std::sqrt(mean + eps);
    for (size_t i = 0; i < n; ++i) y.push_back(x[begin + i] * scale * w[i]);
  }
  return y;
}

TEST(Bounds, RmsNorm) {
  check_bound("rms_norm", [](RandomTensors& random, Ratios& ratios) {
    const int64_t n = 16 * (1 + random.below(256));
    const Floats x = activations(random, n), w = random.normals(n);
    const test::Weight weight = test::f32_weight(w, n);
    return ratios.add(norm_f32(x, w, 1e-5f), oracle::rms_norm(x, weight.tensor, 1e-5));
  });
  check_bound("rms_norm, order unknown", [](RandomTensors& random, Ratios& ratios) {
    const int64_t n = 16 * (1 + random.below(256));
    const Floats x = activations(random, n), w = random.normals(n);
    const test::Weight weight = test::f32_weight(w, n);
    float sum = 0;
    for (const float v : x) sum += v * v;
    const float scale = 1 / std::sqrt(sum / static_cast<float>(n) + 1e-5f);
    Floats y;
    for (size_t i = 0; i < x.size(); ++i) y.push_back(x[i] * scale * w[i]);
    return ratios.add(y, oracle::rms_norm(x, weight.tensor, 1e-5, 1));
  });
}

TEST(Bounds, RmsNormShowsAnEpsErrorThatLooksLikeNoise) {
  // Row 25 of the catalogue: another eps, 1.25e-5 relative. 576 elements is SmolLM2's width.
  RandomTensors random(13);
  const int64_t n = 576;
  const Floats x = random.normals(n, 0.6f), w = random.normals(n);
  const test::Weight weight = test::f32_weight(w, n);
  const Expected expected = oracle::rms_norm(x, weight.tensor, 1e-5);
  EXPECT_LE(noise_ratio(norm_f32(x, w, 1e-5f), expected).max, 1);
  EXPECT_GT(noise_ratio(norm_f32(x, w, 1e-6f), expected).max, 10);
  // Where the order of the additions is unknown, it still shows.
  EXPECT_GT(noise_ratio(norm_f32(x, w, 1e-6f), oracle::rms_norm(x, weight.tensor, 1e-5, 1)).max, 2);
}

/// The angle as kernels reduce it:
/// position times a frequency in turns of two f32 parts, whole turns dropped exactly.
Floats rope_f32(const Floats& x, const oracle::RopeShape& shape, int64_t position) {
  Floats y = x;
  for (int64_t i = 0; i < shape.rope_dims / 2; ++i) {
    const double exact =
        std::pow(shape.base, -2.0 * static_cast<double>(i) / static_cast<double>(shape.rope_dims)) /
        (2 * std::numbers::pi);
    const float high = static_cast<float>(exact), low = static_cast<float>(exact - high);
    const float p = static_cast<float>(position);
    const float angle = p * high, error = std::fma(p, high, -angle);
    const float quarter = std::nearbyint(4 * angle);
    const float r = std::fma(std::fma(p, low, error), 4.0f, std::fma(angle, 4.0f, -quarter));
    const double turned = (static_cast<double>(r) + std::fmod(quarter, 4.0f)) * std::numbers::pi / 2;
    const float c = static_cast<float>(std::cos(turned)), s = static_cast<float>(std::sin(turned));
    const size_t a = static_cast<size_t>(shape.adjacent ? 2 * i : i);
    const size_t b = static_cast<size_t>(shape.adjacent ? 2 * i + 1 : i + shape.rope_dims / 2);
    y[a] = std::fma(x[a], c, -(x[b] * s));
    y[b] = std::fma(x[b], c, x[a] * s);
  }
  return y;
}

TEST(Bounds, Rope) {
  check_bound("rope, positions to 2^20", [](RandomTensors& random, Ratios& ratios) {
    const oracle::RopeShape shape{1, 64, 64, random.uniform() < 0.5 ? 10000.0 : 1e6, random.uniform() < 0.5};
    const int64_t position = random.below(int64_t{1} << random.below(21));
    const Floats x = random.normals(64);
    return ratios.add(rope_f32(x, shape, position), oracle::rope(x, shape, position));
  });
}

TEST(Bounds, RopeOfAnEngineThatMultipliesInF32) {
  check_bound("rope, f32 angle (foreign)", [](RandomTensors& random, Ratios& ratios) {
    const oracle::RopeShape shape{1, 64, 64, 10000, false, 3 * 0x1p-24};
    const int64_t position = random.below(8192);
    const Floats x = random.normals(64);
    Floats y = x;
    for (size_t i = 0; i < 32; ++i) {
      const float frequency = 1 / static_cast<float>(std::pow(10000.0, static_cast<double>(i) / 32));
      const float angle = static_cast<float>(position) * frequency;
      const float c = std::cos(angle), s = std::sin(angle);
      y[i] = x[i] * c - x[i + 32] * s;
      y[i + 32] = x[i + 32] * c + x[i] * s;
    }
    const Expected expected = oracle::rope(x, shape, position);
    return ratios.add(y, expected);
  });
}

constexpr oracle::AttentionShape kShape{2, 1, 64, 0.125};

TEST(Bounds, Scores) {
  check_bound("qk", [](RandomTensors& random, Ratios& ratios) {
    const int64_t n_pos = 1 + random.below(40);
    const Floats q = activations(random, 128), keys = activations(random, 64 * n_pos);
    Floats y;
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t p = 0; p < n_pos; ++p) {
        float sum = 0;
        for (int64_t d = 0; d < 64; ++d) {
          sum = std::fma(q[static_cast<size_t>(h * 64 + d)], keys[static_cast<size_t>(p * 64 + d)], sum);
        }
        y.push_back(sum * 0.125f);
      }
    }
    return ratios.add(y, oracle::qk(q, keys, kShape, n_pos - 1));
  });
}

TEST(Bounds, Softmax) {
  check_bound("softmax", [](RandomTensors& random, Ratios& ratios) {
    const int64_t n = 1 + random.below(600);
    const Floats scores = random.normals(n, static_cast<float>(std::exp2(random.uniform() * 6 - 3)));
    const float max = *std::max_element(scores.begin(), scores.end());
    Floats terms, ones(static_cast<size_t>(n), 1.0f);
    for (const float s : scores) terms.push_back(std::exp(s - max));
    const float inverse = 1 / sum_of_products(terms.data(), ones.data(), terms.size());
    for (float& t : terms) t *= inverse;
    return ratios.add(terms, oracle::softmax(scores, n));
  });
}

TEST(Bounds, WeightedValues) {
  check_bound("pv", [](RandomTensors& random, Ratios& ratios) {
    const int64_t n_pos = 1 + random.below(300);
    Floats weights = random.normals(2 * n_pos);
    for (float& w : weights) w = std::exp(4 * w) * 1e-3f;
    const Floats values = random.normals(64 * n_pos);
    Floats y;
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t d = 0; d < 64; ++d) {
        float sum = 0;
        for (int64_t p = 0; p < n_pos; ++p) {
          sum = std::fma(weights[static_cast<size_t>(h * n_pos + p)], values[static_cast<size_t>(p * 64 + d)],
                         sum);
        }
        y.push_back(sum);
      }
    }
    return ratios.add(y, oracle::pv(weights, values, kShape, n_pos - 1));
  });
}

TEST(Bounds, Elementwise) {
  check_bound("add", [](RandomTensors& random, Ratios& ratios) {
    const Floats a = activations(random, 256), b = activations(random, 256);
    Floats y;
    for (size_t i = 0; i < a.size(); ++i) y.push_back(a[i] + b[i]);
    return ratios.add(y, oracle::add(a, b));
  });
  check_bound("silu_mul", [](RandomTensors& random, Ratios& ratios) {
    const Floats gate = activations(random, 256), up = activations(random, 256);
    Floats y;
    for (size_t i = 0; i < gate.size(); ++i) y.push_back(gate[i] / (1 + std::exp(-gate[i])) * up[i]);
    return ratios.add(y, oracle::silu_mul(gate, up));
  });
}

TEST(Bounds, LambdaKeepsTheStatedFailureProbability) {
  EXPECT_LE(2 * std::exp(-bounds::kLambda * bounds::kLambda / 2), 1e-18);
}

TEST(Bounds, AccumulatedNeverShrinksAndStaysFinite) {
  double last = 0;
  for (double n = 1; n < 1e6; n *= 2) {
    const double bound = bounds::accumulated(n, n, 0x1p-8);
    EXPECT_GT(bound, last);
    last = bound;
    if (n < 4096) {
      EXPECT_TRUE(std::isfinite(bound));
    }
  }
}

}  // namespace
}  // namespace greta
