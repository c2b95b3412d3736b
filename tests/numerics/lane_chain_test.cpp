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

LaneSums block_sums(const BlockTerms& terms, const double* x, const double* group_sums) {
  LaneSums sums{};
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    double of_b = 0;
    for (int64_t g = 0; g < terms.n / terms.group; ++g) {
      double a = 0;
      for (int64_t i = g * terms.group; i < (g + 1) * terms.group; ++i)
        a += terms.scaled[i * kLanes + lane] * x[i];
      const double before = sums.sum[lane];
      double between = 0, b = 0;
      if (terms.offset != nullptr) {
        b = terms.offset[g * kLanes + lane] * group_sums[g];
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

TEST(LaneChain, EveryFormAddsAsTheDefinitionForAnyNumberOfVectors) {
  test::RandomTensors random(1);
  for (const auto& [name, form, needs] : kForms) {
    if (!missing_features(needs).empty()) continue;
    for (const size_t count : {1, 2, 3, 4, 5, 7, 8, 9, 11, 16, 19}) {
      for (const int64_t n : {32, 96, 160}) {
        const std::vector<double> w = doubles(random, n * kLanes), offset = doubles(random, n / 16 * kLanes);
        const Vectors xs = vectors(random, count, n), group_sums = vectors(random, count, n / 16);
        std::vector<LaneSums> products(count), blocks(count), plain(count);
        form->products(w.data(), xs.pointers.data(), count, n, products.data());
        const BlockTerms with_offset{w.data(), offset.data(), n, 16}, without{w.data(), nullptr, n, 32};
        form->blocks(with_offset, xs.pointers.data(), group_sums.pointers.data(), count, blocks.data());
        form->blocks(without, xs.pointers.data(), nullptr, count, plain.data());
        for (size_t j = 0; j < count; ++j) {
          const double* x = xs.pointers[j];
          const LaneSums want[] = {product_sums(w, x, n), block_sums(with_offset, x, group_sums.pointers[j]),
                                   block_sums(without, x, nullptr)};
          EXPECT_EQ(std::memcmp(&products[j], &want[0], sizeof(LaneSums)), 0) << name << count << " of " << n;
          EXPECT_EQ(std::memcmp(&blocks[j], &want[1], sizeof(LaneSums)), 0) << name << count << " of " << n;
          EXPECT_EQ(std::memcmp(&plain[j], &want[2], sizeof(LaneSums)), 0) << name << count << " of " << n;
        }
      }
    }
  }
}

}  // namespace
}  // namespace greta
