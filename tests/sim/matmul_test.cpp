// The products of simulated devices against the order of sums that sim/device.h declares, written out one
// output at a time. No tolerance: the same bits.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <stdexcept>

#include "kernels/kernel_cases.h"
#include "sim/device.h"
#include "sim/rule.h"

namespace greta::test {
namespace {

struct Sizes {
  TensorType type;
  int64_t n, k;
};

// Odd N and K where the format allows: a K of whole blocks is still no multiple of four splits.
constexpr Sizes kSizes[] = {{TensorType::f32, 37, 77},   {TensorType::f32, 1, 1},
                            {TensorType::f32, 17, 17},   {TensorType::q4_1, 33, 96},
                            {TensorType::q4_1, 16, 288}, {TensorType::q8_0, 19, 160},
                            {TensorType::f32, 20, 200}};

const KernelInfo& sim_kernel(std::string_view unit, Route route, Shape shape, Format input) {
  const std::string device = "sim:" + std::string(unit);
  static const std::vector<KernelInfo> table = sim::kernels();
  const KernelInfo* kernel = find_kernel(table,
                                         {.op = OpKind::matmul,
                                          .isa = Isa::scalar,
                                          .route = route,
                                          .shape = shape,
                                          .device = device,
                                          .input = input},
                                         nullptr);
  if (kernel == nullptr) throw std::runtime_error("no kernel of " + device);
  return *kernel;
}

Matrix product(const KernelInfo& kernel, const PackedWeight& weight, View x, int parts = 1) {
  Matrix out(x.rows, weight.n);
  Launch launch;
  KernelArgs args;
  args.in[0] = x;
  args.out = out.view();
  args.weight = &weight;
  args.launch = &launch;
  args.kernel = &kernel;
  run(kernel, args, parts);
  EXPECT_EQ(launch.kernel, kernel.name);
  EXPECT_EQ(launch.count, 1U);
  return out;
}

std::vector<float> weight_row(const PackedWeight& weight, int64_t row) {
  std::vector<float> values(static_cast<size_t>(weight.k));
  unpack_row(weight, row, values.data());
  return values;
}

/// One output from its row of activations and of weights.
using Reference = std::function<float(const std::vector<float>& x, const std::vector<float>& w)>;

void expect_reference(const KernelInfo& kernel, int64_t rows, const Reference& reference) {
  for (const auto& [type, n, k] : kSizes) {
    const PackedWeight weight = random_weight(type, n, k, 3);
    const Matrix x = Matrix::random(rows, k, 5);
    const Matrix got = product(kernel, weight, x.view());
    for (int64_t r = 0; r < rows; ++r) {
      const std::vector<float> row(x.view().row(r), x.view().row(r) + k);
      for (int64_t i = 0; i < n; ++i) {
        const float want = reference(row, weight_row(weight, i));
        ASSERT_TRUE(same(got.at(r, i), want)) << kernel.name << ", K = " << k << ", row " << r << ", output "
                                              << i << ": " << got.at(r, i) << " instead of " << want;
      }
    }
  }
}

/// k = begin .. end through the unit, group after group, padded with zeros to whole instructions.
float unit_chain(const units::Instruction& unit, std::vector<float> x, std::vector<float> w, int64_t begin,
                 int64_t end) {
  const int64_t padded = (end - begin + unit.k - 1) / unit.k * unit.k;
  const auto slice = [&](std::vector<float>& values) {
    std::vector<float> part(values.begin() + begin, values.begin() + end);
    part.resize(static_cast<size_t>(padded));
    values = std::move(part);
  };
  slice(x);
  slice(w);
  float sum = 0;
  for (int64_t at = 0; at < padded; at += unit.group) {
    if (at % unit.k == 0) sum = sim::read_sum(unit, sum);
    sum = sim::add_group(unit, x.data() + at, w.data() + at, 1, sum);
  }
  return sum;
}

/// What the unit reads of an f32: mi250x flushes subnormal inputs.
std::vector<float> as_read(const units::Instruction& unit, Format format, std::vector<float> values) {
  for (float& x : values) {
    const uint32_t bits = format == Format::f16 ? f32_to_f16(x) : f32_to_bf16(x);
    x = sim::read_input(unit, unit.a, bits);
  }
  return values;
}

std::vector<std::pair<std::string, Format>> units() {
  std::vector<std::pair<std::string, Format>> all;
  for (const sim::Device& device : sim::devices()) {
    if (!device.bf16.empty()) all.emplace_back(device.name, Format::bf16);
    if (!device.f16.empty()) all.emplace_back(device.name, Format::f16);
  }
  return all;
}

TEST(SimMatrix, GemmIsOneChainOfInstructions) {
  ASSERT_EQ(units().size(), 13U);
  for (const auto& [device, input] : units()) {
    const KernelInfo& kernel = sim_kernel(device, Route::matrix, Shape::gemm, input);
    const units::Instruction& unit = *kernel.roundings.unit;
    expect_reference(
        kernel, 3, [&, format = input](const std::vector<float>& x, const std::vector<float>& w) {
          return unit_chain(unit, as_read(unit, format, x), as_read(unit, format, w), 0, std::ssize(x));
        });
  }
}

TEST(SimMatrix, GemvSplitsKInFourAndAddsInOrder) {
  for (const auto& [device, input] : units()) {
    const KernelInfo& kernel = sim_kernel(device, Route::matrix, Shape::gemv, input);
    EXPECT_EQ(kernel.roundings.splits, 4);
    const units::Instruction& unit = *kernel.roundings.unit;
    expect_reference(kernel, 1,
                     [&, format = input](const std::vector<float>& x, const std::vector<float>& w) {
                       const std::vector<float> a = as_read(unit, format, x), b = as_read(unit, format, w);
                       // Whole instructions, dealt out one by one: the first quarters get the odd ones.
                       int64_t counts[4] = {};
                       const int64_t steps = (std::ssize(a) + unit.k - 1) / unit.k;
                       for (int64_t i = 0; i < steps; ++i) ++counts[i % 4];
                       float sum = 0;
                       int64_t begin = 0;
                       for (int quarter = 0; quarter < 4 && counts[quarter] > 0; ++quarter) {
                         const int64_t end = std::min(std::ssize(a), begin + counts[quarter] * unit.k);
                         const float own = unit_chain(unit, a, b, begin, end);
                         sum = quarter == 0 ? own : sum + own;
                         begin = end;
                       }
                       return sum;
                     });
  }
}

TEST(SimVector, GemmIsOneChainOfFmas) {
  for (const sim::Device& device : sim::devices()) {
    expect_reference(sim_kernel(device.name, Route::vector, Shape::gemm, Format::bf16), 3,
                     [](const std::vector<float>& x, const std::vector<float>& w) {
                       float sum = 0;
                       for (size_t i = 0; i < x.size(); ++i) sum = std::fma(x[i], w[i], sum);
                       return sum;
                     });
  }
}

TEST(SimVector, GemvIsStridedLanesAndAButterfly) {
  for (const sim::Device& device : sim::devices()) {
    const size_t wave = device.name.starts_with("mi") ? 64 : 32;
    const KernelInfo& kernel = sim_kernel(device.name, Route::vector, Shape::gemv, Format::bf16);
    EXPECT_TRUE(kernel.name.ends_with("gemv_wave" + std::to_string(wave))) << kernel.name;
    expect_reference(kernel, 1, [wave](const std::vector<float>& x, const std::vector<float>& w) {
      std::vector<float> lanes(wave);
      for (size_t i = 0; i < x.size(); ++i) lanes[i % wave] = std::fma(x[i], w[i], lanes[i % wave]);
      for (size_t far = wave / 2; far > 0; far /= 2) {
        std::vector<float> next(wave);
        for (size_t lane = 0; lane < wave; ++lane) next[lane] = lanes[lane] + lanes[lane ^ far];
        lanes = next;
      }
      for (size_t lane = 1; lane < wave; ++lane)
        EXPECT_TRUE(same(lanes[lane], lanes[0])) << "a butterfly leaves one sum";
      return lanes[0];
    });
  }
}

TEST(SimDevices, ThreadsAndTheOtherRowsDoNotChangeABit) {
  const PackedWeight weight = random_weight(TensorType::q4_1, 100, 160, 7);
  const Matrix x = Matrix::random(40, 160, 8);
  for (const KernelInfo& kernel : sim::kernels()) {
    const bool gemv = kernel.shape == Shape::gemv;
    const Matrix want = product(kernel, weight, x.rows(5, 1));
    for (const int parts : {1, 2, 3, 64}) {
      const Matrix got = product(kernel, weight, gemv ? x.rows(5, 1) : x.rows(2, 30), parts);
      const int64_t row = gemv ? 0 : 3;
      ASSERT_EQ(difference(want.view(), got.rows(row, 1)), "") << kernel.name << ", " << parts << " parts";
    }
  }
}

}  // namespace
}  // namespace greta::test
