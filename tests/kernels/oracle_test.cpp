// Kernels of every type and route against the oracle, which decodes the file's blocks by itself and bounds
// what the contract's roundings may do. Tolerance: the oracle's own bound (docs/numerics.md), which holds for
// all elements of a run with a probability of 1 - 1e-9.

#include "numerics/oracle.h"

#include <gtest/gtest.h>

#include "kernels/kernel_cases.h"

namespace greta::test {
namespace {

Tensor tensor_of(TensorType type, const std::vector<std::byte>& rows, int64_t n, int64_t k) {
  Tensor tensor;
  tensor.name = "w";
  tensor.type = type;
  tensor.n_dims = 2;
  tensor.dims = {static_cast<uint64_t>(k), static_cast<uint64_t>(n), 1, 1};
  tensor.data = rows;
  return tensor;
}

class WithinOracle : public testing::TestWithParam<TensorType> {};

/// The largest |value - expected| / bound of a kernel's outputs.
double worst_ratio(const KernelInfo& kernel, TensorType type, uint64_t seed, float input_error) {
  const int64_t n = 48, k = 1536, s = 5;
  const std::vector<std::byte> rows = file_rows(type, n, k, seed);
  const Matrix x = Matrix::random(s, k, seed + 1);
  const Expected expected =
      oracle::matmul(tensor_of(type, rows, n, k), std::span(x.view().row(0), static_cast<size_t>(s * k)), s,
                     kernel.roundings);
  PackedWeight weight = pack(type, rows, n, k);
  Matrix input = Matrix::random(s, k, seed + 1);
  input.at(0, 100) *= 1 + input_error;
  Matrix out(s, n);
  matmul(kernel, weight, activations(kernel, input).view(), out.view());
  double worst = 0;
  for (int64_t r = 0; r < s; ++r) {
    for (int64_t c = 0; c < n; ++c) {
      const size_t at = static_cast<size_t>(r * n + c);
      const double error = std::fabs(static_cast<double>(out.at(r, c)) - expected.value[at]);
      worst = std::max(worst, error / expected.bound[at]);
    }
  }
  return worst;
}

TEST_P(WithinOracle, OnBothRoutes) {
  for (Route route : {Route::vector, Route::matrix}) {
    const KernelInfo* kernel = matmul_kernel(best_isa(), GetParam(), route, Shape::gemm);
    if (kernel == nullptr) continue;
    for (uint64_t seed = 0; seed < 8; ++seed) {
      const double ratio = worst_ratio(*kernel, GetParam(), 100 + seed, 0);
      EXPECT_LE(ratio, 1.0) << kernel->name;
      EXPECT_GT(ratio, 0.001) << kernel->name << ": so wide a bound says nothing";
    }
    // One activation of 1536 a tenth off: the bound sees it.
    EXPECT_GT(worst_ratio(*kernel, GetParam(), 100, 0.1f), 1.0) << kernel->name;
  }
}

INSTANTIATE_TEST_SUITE_P(Types, WithinOracle, testing::ValuesIn(kTypes),
                         [](const auto& type) { return std::string(name(type.param)); });

}  // namespace
}  // namespace greta::test
