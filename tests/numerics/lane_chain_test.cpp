// Running sums of every instruction set against their definition. No tolerance: all add in the same order, so
// all bits are equal, whatever runs beside them.

#include "numerics/lane_chain.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/cpu_features.h"
#include "numerics/lane_chain_form.h"
#include "numerics/test_tensors.h"

namespace greta {
namespace {

struct NamedForm {
  const char* name;
  const ChainForm* form;
  const char* needs;
};
const NamedForm kForms[] = {{"scalar", &kScalarChains, ""},
                            {"avx2", &kAvx2Chains, kAvx2Features},
                            {"avx512", &kAvx512Chains, kAvx512Features}};

std::vector<double> doubles(test::RandomTensors& random, int64_t n) {
  std::vector<double> values(static_cast<size_t>(n));
  for (double& value : values) value = static_cast<double>(random.normal());
  return values;
}

std::vector<int16_t> codes(test::RandomTensors& random, int64_t n) {
  std::vector<int16_t> values(static_cast<size_t>(n));
  for (int16_t& value : values) value = static_cast<int16_t>(random.below(256) - 128);
  return values;
}

struct Vectors {
  std::vector<std::vector<double>> values = {};
  std::vector<const double*> pointers = {};
};

Vectors vectors(test::RandomTensors& random, size_t count, int64_t n) {
  Vectors vectors;
  for (size_t j = 0; j < count; ++j) vectors.values.push_back(doubles(random, n));
  for (const auto& values : vectors.values) vectors.pointers.push_back(values.data());
  return vectors;
}

LaneSums product_sums(const std::vector<double>& w, const double* x, int64_t n) {
  LaneSums sums{};
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double term = w[static_cast<size_t>(i * kLanes + lane)] * x[i];
      sums.sum[lane] += term;
      sums.energy[lane] += sums.sum[lane] * sums.sum[lane];
      sums.squares[lane] += term * term;
    }
  }
  return sums;
}

LaneSums block_sums(const BlockTerms& terms, const BlockRow& row) {
  LaneSums sums{};
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    double of_b = 0;
    for (int64_t g = 0; g < terms.n / terms.group; ++g) {
      double whole = 0;
      for (int64_t i = g * terms.group; i < (g + 1) * terms.group; ++i)
        whole += double{1} * terms.codes[i / 2 * 2 * kLanes + lane * 2 + i % 2] * row.codes[i];
      const double scale = terms.scale[g * kLanes + lane] * row.scale[g];
      const double a = whole * scale;
      if (terms.offset == nullptr && row.spread != nullptr)
        sums.spread[lane] += scale * scale * row.spread[g];
      const double before = sums.sum[lane];
      double between = 0, b = 0;
      if (terms.offset != nullptr) {
        b = terms.offset[g * kLanes + lane] * row.sums[g];
        between = std::max((before + a) * (before + a), (before + b) * (before + b));
      }
      sums.sum[lane] = terms.offset == nullptr ? before + a : before + a + b;
      sums.energy[lane] += between + sums.sum[lane] * sums.sum[lane];
      sums.squares[lane] += a * a + b * b;
      if (terms.offset == nullptr) continue;
      of_b += b;
      const double of_a = sums.sum[lane] - of_b;
      sums.apart[lane] += of_a * of_a + of_b * of_b;
    }
  }
  return sums;
}

bool equal_bits(const LaneSums& a, const LaneSums& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

constexpr size_t kCounts[] = {1, 2, 3, 4, 5, 7, 8, 9, 11, 16, 19};

TEST(LaneChain, EveryFormAddsProductsAsTheDefinition) {
  test::RandomTensors random(1);
  for (const auto& [name, form, needs] : kForms) {
    if (!missing_features(needs).empty()) continue;
    for (const size_t count : kCounts) {
      for (const int64_t n : {32, 96, 160}) {
        const std::vector<double> w = doubles(random, n * kLanes);
        const Vectors xs = vectors(random, count, n);
        std::vector<LaneSums> sums(count);
        form->products(w.data(), xs.pointers.data(), count, n, sums.data());
        for (size_t j = 0; j < count; ++j) {
          EXPECT_TRUE(equal_bits(sums[j], product_sums(w, xs.pointers[j], n)))
              << name << ' ' << count << " of " << n;
        }
      }
    }
  }
}

/// Rows of codes with their scales and sums, and where they lie.
struct Blocks {
  std::vector<std::vector<int16_t>> of_codes = {};
  Vectors scales = {}, sums = {}, spreads = {};
  std::vector<BlockRow> rows = {};

  Blocks(test::RandomTensors& random, size_t count, int64_t n, int64_t groups)
      : scales(vectors(random, count, groups)),
        sums(vectors(random, count, groups)),
        spreads(vectors(random, count, groups)) {
    for (size_t j = 0; j < count; ++j) of_codes.push_back(codes(random, n));
    for (size_t j = 0; j < count; ++j)
      rows.push_back({of_codes[j].data(), scales.pointers[j], sums.pointers[j],
                      j % 2 == 0 ? spreads.pointers[j] : nullptr});
  }
};

TEST(LaneChain, EveryFormAddsBlocksAsTheDefinition) {
  test::RandomTensors random(2);
  for (const auto& [name, form, needs] : kForms) {
    if (!missing_features(needs).empty()) continue;
    for (const size_t count : kCounts) {
      for (const auto& [n, group] : {std::pair{32, 32}, {96, 16}, {160, 32}, {160, 16}}) {
        const int64_t groups = n / group;
        const std::vector<int16_t> w = codes(random, n * kLanes);
        const std::vector<double> scale = doubles(random, groups * kLanes);
        const std::vector<double> offset = doubles(random, groups * kLanes);
        const Blocks blocks(random, count, n, groups);
        for (const double* minima : {offset.data(), static_cast<const double*>(nullptr)}) {
          const BlockTerms terms{w.data(), scale.data(), minima, n, group};
          std::vector<LaneSums> sums(count);
          std::vector<int32_t> room(kBlocksAtOnce * static_cast<size_t>(groups * kLanes));
          form->blocks(terms, blocks.rows.data(), count, room.data(), sums.data());
          for (size_t j = 0; j < count; ++j) {
            EXPECT_TRUE(equal_bits(sums[j], block_sums(terms, blocks.rows[j])))
                << name << ' ' << count << " of " << n << " in " << group;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace greta
