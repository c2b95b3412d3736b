#include <gtest/gtest.h>

#include "kernels/kernel_cases.h"

namespace greta::test {
namespace {

struct Heads {
  int64_t n_head, n_head_kv, head_dim;
};

/// A cache whose unwritten slots are NaN, and the queries of a few rows at its end.
struct Scene {
  Heads heads;
  int64_t position, rows, capacity;
  Matrix q, k, v;
  AlignedBytes keys, values;
  Format format;

  Scene(Heads h, int64_t at, int64_t n, Format f, uint64_t seed = 30)
      : heads(h),
        position(at),
        rows(n),
        capacity((at + n + 15) / 16 * 16 + 32),
        q(Matrix::random(n, h.n_head * h.head_dim, seed)),
        k(Matrix::random(at + n, h.n_head_kv * h.head_dim, seed + 1)),
        v(Matrix::random(at + n, h.n_head_kv * h.head_dim, seed + 2)),
        keys(h.n_head_kv * capacity * h.head_dim * 4),
        values(keys.size()),
        format(f) {
    std::memset(keys.data(), 0xff, static_cast<size_t>(keys.size()));
    std::memset(values.data(), 0xff, static_cast<size_t>(values.size()));
  }

  KvView cache() { return {keys.data(), values.data(), format, capacity, heads.n_head_kv, heads.head_dim}; }
  KernelArgs args() {
    KernelArgs a;
    a.in[0] = q.view();
    a.cache = cache();
    a.position = position;
    a.params.n_head = heads.n_head;
    a.params.head_dim = heads.head_dim;
    a.params.scale = 0.37f;
    return a;
  }
  /// Writes cache rows [first, first + count).
  void write(Isa isa, int64_t first, int64_t count, int parts = 1) {
    KernelArgs a;
    a.in = {k.rows(first, count), v.rows(first, count)};
    a.cache = cache();
    a.position = first;
    run(*row_kernel(OpKind::kv_write, isa), a, parts);
  }
};

Matrix scores(Isa isa, Scene& scene, int64_t n_pos, int parts = 1) {
  Matrix out(scene.rows * scene.heads.n_head, n_pos);
  KernelArgs args = scene.args();
  args.out = out.view();
  run(*row_kernel(OpKind::qk, isa), args, parts);
  return out;
}

Matrix softmax(Isa isa, const Matrix& x, int parts = 1) {
  Matrix out(x.view().rows, x.view().cols);
  KernelArgs args;
  args.in[0] = x.view();
  args.out = out.view();
  run(*row_kernel(OpKind::softmax, isa), args, parts);
  return out;
}

Matrix mixed(Isa isa, Scene& scene, const Matrix& weights, int parts = 1) {
  Matrix out(scene.rows, scene.heads.n_head * scene.heads.head_dim);
  KernelArgs args = scene.args();
  args.in[0] = weights.view();
  args.out = out.view();
  run(*row_kernel(OpKind::pv, isa), args, parts);
  return out;
}

Matrix fused(Isa isa, Scene& scene, int parts = 1, bool narrow_scratch = false) {
  Matrix out(scene.rows, scene.heads.n_head * scene.heads.head_dim);
  const int64_t n_pos = scene.position + scene.rows;
  Matrix scratch(parts, narrow_scratch ? (n_pos + 15) / 16 * 16 : attention_scratch_floats(n_pos));
  KernelArgs args = scene.args();
  args.out = out.view();
  args.scratch = scratch.view();
  run(*row_kernel(OpKind::attention, isa), args, parts);
  return out;
}

constexpr Heads kHeads[] = {{9, 3, 64}, {4, 4, 16}, {6, 1, 80}, {2, 1, 20}, {8, 2, 128}, {3, 3, 96}};

/// The formats that a cache of such heads may have.
std::vector<Format> formats_of(const Heads& heads) {
  if (heads.head_dim % 32 != 0) return {Format::f32, Format::f16};
  return {Format::f32, Format::f16, Format::q8_0};
}

class Attention : public testing::TestWithParam<Isa> {};

TEST_P(Attention, FusedEqualsQkSoftmaxPvForEveryLengthAndThreadCount) {
  for (const Heads& heads : kHeads) {
    for (Format format : formats_of(heads)) {
      for (const auto& [position, rows] :
           {std::pair<int64_t, int64_t>{0, 1}, {0, 17}, {15, 1}, {16, 1}, {31, 40}, {100, 3}, {129, 1}}) {
        Scene scene(heads, position, rows, format);
        scene.write(GetParam(), 0, position + rows);
        const Matrix p = softmax(GetParam(), scores(GetParam(), scene, position + rows));
        const Matrix want = mixed(GetParam(), scene, p);
        for (int parts : {1, 2, 3, 8}) {
          ASSERT_EQ(difference(want.view(), fused(GetParam(), scene, parts).view()), "")
              << heads.head_dim << " at " << position << " rows " << rows << " parts " << parts;
        }
        ASSERT_EQ(difference(want.view(), fused(GetParam(), scene, 2, true).view()), "") << "narrow scratch";
        const Matrix p3 = softmax(GetParam(), scores(GetParam(), scene, position + rows, 3), 3);
        ASSERT_EQ(difference(p.view(), p3.view()), "");
        ASSERT_EQ(difference(want.view(), mixed(GetParam(), scene, p, 3).view()), "");
        for (int64_t c = 0; c < want.view().cols; ++c) ASSERT_TRUE(std::isfinite(want.at(rows - 1, c)));
      }
    }
  }
}

// The row at a position has the same bits alone (decode) and among others (prefill), where n_pos is larger
// and the cache already holds later positions.
TEST_P(Attention, ARowAloneEqualsTheRowOfABlock) {
  for (Format format : {Format::f32, Format::f16, Format::q8_0}) {
    Scene block({9, 3, 64}, 0, 70, format);
    block.write(GetParam(), 0, 70);
    const Matrix p = softmax(GetParam(), scores(GetParam(), block, 70));
    const Matrix want = fused(GetParam(), block);
    for (int64_t at = 0; at < 70; ++at) {
      Scene one({9, 3, 64}, at, 1, format);
      std::memcpy(one.q.view().data, block.q.rows(at, 1).data, static_cast<size_t>(block.q.view().stride));
      one.write(GetParam(), 0, at + 1);
      ASSERT_EQ(difference(want.rows(at, 1), fused(GetParam(), one).view()), "") << "position " << at;
      const Matrix alone = softmax(GetParam(), scores(GetParam(), one, at + 1));
      for (int64_t h = 0; h < 9; ++h) {
        View same_columns = p.rows(at * 9 + h, 1);
        same_columns.cols = at + 1;
        ASSERT_EQ(difference(same_columns, alone.rows(h, 1)), "") << "softmax, position " << at;
        for (int64_t c = at + 1; c < 70; ++c) ASSERT_EQ(p.at(at * 9 + h, c), 0.0f);
      }
    }
  }
}

// What later positions hold, NaN and infinity included, is nothing to an earlier row.
TEST_P(Attention, LaterNansDoNotReachEarlierRows) {
  for (Format format : {Format::f32, Format::f16, Format::q8_0}) {
    Scene scene({4, 2, 32}, 0, 40, format);
    scene.write(GetParam(), 0, 40);
    const Matrix want = fused(GetParam(), scene);
    for (int64_t c = 0; c < 64; ++c) {
      scene.k.at(35, c) = c % 2 == 0 ? std::nanf("") : INFINITY;
      scene.v.at(35, c) = scene.k.at(35, c);
    }
    scene.write(GetParam(), 0, 40);
    const Matrix got = fused(GetParam(), scene);
    const Matrix weights = softmax(GetParam(), scores(GetParam(), scene, 40));
    const Matrix apart = mixed(GetParam(), scene, weights);
    EXPECT_EQ(difference(want.rows(0, 35), got.rows(0, 35)), "");
    EXPECT_EQ(difference(want.rows(0, 35), apart.rows(0, 35)), "");
    EXPECT_TRUE(std::isnan(got.at(35, 0)));
  }
}

TEST_P(Attention, EveryIsaGivesTheBitsOfTheScalarBuild) {
  for (const Heads& heads : kHeads) {
    for (Format format : formats_of(heads)) {
      Scene scene(heads, 37, 5, format), reference(heads, 37, 5, format);
      scene.write(GetParam(), 0, 42);
      reference.write(Isa::scalar, 0, 42);
      ASSERT_EQ(std::memcmp(scene.keys.data(), reference.keys.data(), static_cast<size_t>(scene.keys.size())),
                0);
      ASSERT_EQ(
          std::memcmp(scene.values.data(), reference.values.data(), static_cast<size_t>(scene.keys.size())),
          0);
      ASSERT_EQ(difference(scores(Isa::scalar, reference, 42).view(), scores(GetParam(), scene, 42).view()),
                "");
      ASSERT_EQ(difference(fused(Isa::scalar, reference).view(), fused(GetParam(), scene).view()), "");
    }
  }
}

TEST_P(Attention, ChunksAndThreadsWriteTheSameCache) {
  for (Format format : {Format::f32, Format::f16, Format::q8_0}) {
    Scene whole({6, 3, 32}, 0, 53, format), chunked({6, 3, 32}, 0, 53, format);
    whole.write(GetParam(), 0, 53);
    int64_t at = 0;
    for (int64_t count : {1, 15, 16, 3, 18}) {
      chunked.write(GetParam(), at, count, 3);
      at += count;
    }
    ASSERT_EQ(std::memcmp(whole.keys.data(), chunked.keys.data(), static_cast<size_t>(whole.keys.size())), 0);
    ASSERT_EQ(
        std::memcmp(whole.values.data(), chunked.values.data(), static_cast<size_t>(whole.values.size())), 0);
  }
}

TEST_P(Attention, KvWriteFollowsTheLayoutOfKvView) {
  for (Format format : {Format::f32, Format::f16}) {
    Scene s({2, 2, 20}, 0, 40, format);
    s.write(GetParam(), 0, 40);
    const auto stored = [&](const AlignedBytes& bytes, int64_t i) {
      return format == Format::f32 ? reinterpret_cast<const float*>(bytes.data())[i]
                                   : f16_to_f32(reinterpret_cast<const uint16_t*>(bytes.data())[i]);
    };
    const auto rounded = [&](float x) { return format == Format::f32 ? x : f16_to_f32(f32_to_f16(x)); };
    for (int64_t p = 0; p < 40; ++p) {
      for (int64_t h = 0; h < 2; ++h) {
        for (int64_t d = 0; d < 20; ++d) {
          const int64_t key = ((h * (s.capacity / 16) + p / 16) * 20 + d) * 16 + p % 16;
          ASSERT_EQ(stored(s.keys, key), rounded(s.k.at(p, h * 20 + d)));
          ASSERT_EQ(stored(s.values, (h * s.capacity + p) * 20 + d), rounded(s.v.at(p, h * 20 + d)));
        }
      }
    }
  }
}

// Determined: the block by its definition (base/rounding.h), the place by KvView's, written out here.
TEST_P(Attention, KvWriteInQ8RoundsBlocksOf32Dims) {
  Scene s({2, 2, 64}, 0, 40, Format::q8_0);
  for (int64_t d = 0; d < 32; ++d) {
    s.k.at(3, d) = 0;
    s.k.at(4, d) = d == 5 ? std::nanf("") : 1.0f;
    s.k.at(5, d) = d == 6 ? -INFINITY : 1.0f;
    s.k.at(6, d) *= 0x1p-20f;                                             // a subnormal scale
    s.k.at(7, d) *= 0x1p-30f;                                             // a scale that is 0
    s.k.at(8, d) = d == 0 ? 1e9f : 1.0f;                                  // one beyond f16
    s.v.at(9, d) = static_cast<float>(d - 16) / 2 + (d == 0 ? -119 : 0);  // ties, and d = 1 exactly
  }
  s.write(GetParam(), 0, 40);
  const auto check = [](const Matrix& x, int64_t p, int64_t column, const std::byte* scale,
                        const std::byte* code, int64_t step) {
    float most = 0;
    bool finite = true;
    for (int64_t i = 0; i < 32; ++i) {
      most = std::max(most, std::fabs(x.at(p, column + i)));
      finite = finite && std::isfinite(x.at(p, column + i));
    }
    uint16_t half;
    std::memcpy(&half, scale, 2);
    const float d = f16_to_f32(half);
    if (finite) {
      ASSERT_EQ(half, f32_to_f16(most / 127.0f)) << p;
    } else {
      ASSERT_FALSE(std::isfinite(d)) << p;
    }
    for (int64_t i = 0; i < 32; ++i) {
      const bool some = d > 0 && std::isfinite(d);
      const float q = some ? std::clamp(std::nearbyint(x.at(p, column + i) / d), -127.0f, 127.0f) : 0;
      ASSERT_EQ(static_cast<float>(static_cast<int8_t>(code[i * step])), q) << p << ", " << column + i;
    }
  };
  for (int64_t p = 0; p < 40; ++p) {
    for (int64_t h = 0; h < 2; ++h) {
      for (int64_t b = 0; b < 2; ++b) {
        const std::byte* key = s.keys.data() + ((h * (s.capacity / 16) + p / 16) * 2 + b) * 544;
        check(s.k, p, h * 64 + b * 32, key + p % 16 * 2, key + 32 + p % 16, 16);
        const std::byte* value = s.values.data() + ((h * s.capacity + p) * 2 + b) * 34;
        check(s.v, p, h * 64 + b * 32, value, value + 2, 1);
      }
    }
  }
}

// d * q is exact in f32: attention on a q8_0 cache has the bits
// of one on an f32 cache that holds those numbers.
TEST_P(Attention, Q8IsReadExactly) {
  Scene coarse({6, 2, 96}, 20, 30, Format::q8_0);
  coarse.write(GetParam(), 0, 50);
  Scene exact({6, 2, 96}, 20, 30, Format::f32);
  for (int64_t p = 0; p < 50; ++p) {
    for (int64_t i = 0; i < 2 * 96; ++i) {
      const int64_t h = i / 96, d = i % 96;
      const std::byte* key = coarse.keys.data() + ((h * (coarse.capacity / 16) + p / 16) * 3 + d / 32) * 544;
      const std::byte* value = coarse.values.data() + ((h * coarse.capacity + p) * 3 + d / 32) * 34;
      const auto number = [](const std::byte* scale, std::byte code) {
        uint16_t half;
        std::memcpy(&half, scale, 2);
        return f16_to_f32(half) * static_cast<float>(static_cast<int8_t>(code));
      };
      exact.k.at(p, i) = number(key + p % 16 * 2, key[32 + d % 32 * 16 + p % 16]);
      exact.v.at(p, i) = number(value, value[2 + d % 32]);
    }
  }
  exact.write(GetParam(), 0, 50);
  EXPECT_EQ(difference(fused(GetParam(), exact).view(), fused(GetParam(), coarse).view()), "");
}

// Tolerances: a score is a chain of head_dim FMAs and one product: gamma_(head_dim + 1) * scale * sum |q k|.
// A weight is exp (1 ulp) of a difference of scores (half an ulp of at most 2 * the largest score, absolute),
// divided by a sum of n terms: relative (2 s + n / 16 + 8) u with s the largest score.
// An output is a chain of n FMAs.
TEST_P(Attention, IsWithinTheRoundingBoundOfTheExactResult) {
  const Heads heads{4, 2, 64};
  const int64_t position = 60, rows = 3, n = position + rows;
  Scene scene(heads, position, rows, Format::f32);
  scene.write(GetParam(), 0, n);
  const Matrix s = scores(GetParam(), scene, n), p = softmax(GetParam(), s),
               out = mixed(GetParam(), scene, p);
  constexpr double u = 0x1p-24;
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t h = 0; h < 4; ++h) {
      double top = 0, total = 0;
      for (int64_t i = 0; i <= position + r; ++i) {
        double exact = 0, magnitude = 0;
        for (int64_t d = 0; d < 64; ++d) {
          const double term = static_cast<double>(scene.q.at(r, h * 64 + d)) * scene.k.at(i, h / 2 * 64 + d);
          exact += term;
          magnitude += std::fabs(term);
        }
        ASSERT_NEAR(s.at(r * 4 + h, i), exact * 0.37f, 66 * u * magnitude * 0.37f);
        top = std::max(top, std::fabs(static_cast<double>(s.at(r * 4 + h, i))));
        total += std::exp(static_cast<double>(s.at(r * 4 + h, i)));
      }
      for (int64_t i = position + r + 1; i < n; ++i) ASSERT_EQ(s.at(r * 4 + h, i), -INFINITY);
      for (int64_t i = 0; i <= position + r; ++i) {
        const double exact = std::exp(static_cast<double>(s.at(r * 4 + h, i))) / total;
        ASSERT_NEAR(p.at(r * 4 + h, i), exact, (2 * top + n / 16.0 + 8) * u * exact);
      }
      for (int64_t d = 0; d < 64; ++d) {
        double exact = 0, magnitude = 0;
        for (int64_t i = 0; i <= position + r; ++i) {
          const double term = static_cast<double>(p.at(r * 4 + h, i)) * scene.v.at(i, h / 2 * 64 + d);
          exact += term;
          magnitude += std::fabs(term);
        }
        ASSERT_NEAR(out.at(r, h * 64 + d), exact, static_cast<double>(n + 1) * u * magnitude);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Attention, testing::ValuesIn(isas()),
                         [](const auto& test) { return std::string(name(test.param)); });

/// A cap and sinks: the bits of the scalar build, taken apart and fused; a sink of -inf is none.
/// Tolerance: none.
TEST_P(Attention, CapsAndSinksHaveTheSameBitsOnEveryIsaAndFused) {
  for (const Heads& heads : kHeads) {
    Scene scene(heads, 20, 9, Format::f32);
    scene.write(Isa::scalar, 0, 29);
    std::vector<float> sinks;
    for (int64_t h = 0; h < heads.n_head; ++h) sinks.push_back(0.25f * static_cast<float>(h) - 1);
    const std::vector<float> none(sinks.size(), -INFINITY);
    const auto weights = [&](Isa isa, const float* bias) {
      Matrix out(scene.rows * heads.n_head, 29), scores(scene.rows * heads.n_head, 29);
      KernelArgs args = scene.args();
      args.params.cap = 1.5f;
      args.out = scores.view();
      run(*row_kernel(OpKind::qk, isa), args, 2);
      for (int64_t r = 0; r < args.out.rows; ++r) {
        for (int64_t p = 0; p < 29; ++p) {
          EXPECT_TRUE(std::isinf(scores.at(r, p)) || std::abs(scores.at(r, p)) <= 1.5f);
        }
      }
      args.in[0] = scores.view();
      args.out = out.view();
      args.bias = bias;
      run(*row_kernel(OpKind::softmax, isa), args, 2);
      return out;
    };
    const Matrix with = weights(GetParam(), sinks.data());
    ASSERT_EQ(difference(weights(Isa::scalar, sinks.data()).view(), with.view()), "");
    ASSERT_EQ(difference(weights(GetParam(), none.data()).view(), weights(GetParam(), nullptr).view()), "");
    EXPECT_NE(difference(weights(GetParam(), nullptr).view(), with.view()), "");
    Matrix whole(scene.rows, heads.n_head * heads.head_dim), scratch(2, attention_scratch_floats(29));
    KernelArgs args = scene.args();
    args.params.cap = 1.5f;
    args.bias = sinks.data();
    args.out = whole.view();
    args.scratch = scratch.view();
    run(*row_kernel(OpKind::attention, GetParam()), args, 2);
    ASSERT_EQ(difference(mixed(GetParam(), scene, with).view(), whole.view()), "");
  }
}

}  // namespace
}  // namespace greta::test
