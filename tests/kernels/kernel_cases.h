#pragma once
// Random inputs and a way to run one kernel, for the tests and benchmarks of the kernels.

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/half.h"
#include "kernels/file_rows.h"
#include "kernels/kernel.h"

namespace greta::test {

/// A buffer with its view; starts as NaN so that what a kernel should have written shows.
class Matrix {
 public:
  Matrix(int64_t rows, int64_t cols, Format format = Format::f32)
      : Matrix(rows, cols, format, row_bytes(cols, format)) {}
  Matrix(int64_t rows, int64_t cols, Format format, int64_t stride) : bytes_(rows * stride) {
    std::memset(bytes_.data(), 0xff, static_cast<size_t>(bytes_.size()));
    view_ = {bytes_.data(), rows, cols, stride, format};
  }
  static Matrix random(int64_t rows, int64_t cols, uint64_t seed, float scale = 1) {
    Matrix m(rows, cols);
    Random random(seed);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) m.at(r, c) = random.uniform(-scale, scale);
    }
    return m;
  }

  View view() const { return view_; }
  View rows(int64_t first, int64_t count) const {
    View v = view_;
    v.data += first * v.stride;
    v.rows = count;
    return v;
  }
  float& at(int64_t r, int64_t c) { return view_.row(r)[c]; }
  float at(int64_t r, int64_t c) const { return view_.row(r)[c]; }

 private:
  static int64_t row_bytes(int64_t cols, Format format) {
    return format == Format::f32 || format == Format::i32 ? cols * 4 : activation_row_bytes(format, cols);
  }
  AlignedBytes bytes_;
  View view_;
};

/// The ISAs that this machine can run.
inline std::vector<Isa> isas() {
  std::vector<Isa> all{Isa::scalar};
  if (best_isa() != Isa::scalar) all.push_back(Isa::avx2);
  if (best_isa() == Isa::avx512) all.push_back(Isa::avx512);
  return all;
}

/// Runs all parts of a kernel, one after the other.
inline void run(const KernelInfo& kernel, const KernelArgs& args, int parts = 1) {
  for (int i = 0; i < parts; ++i) kernel.run(args, Part{i, parts});
}

inline const KernelInfo* row_kernel(OpKind op, Isa isa, Format activation = Format::f32) {
  KernelQuery query{op, isa};
  query.activation = activation;
  return find_kernel(cpu_kernels(), query, nullptr);
}

inline const KernelInfo* matmul_kernel(Isa isa, TensorType type, Route route, Shape shape) {
  return find_kernel(cpu_kernels(), {OpKind::matmul, isa, type, route, shape}, nullptr);
}

/// f32 rows in the format that `kernel` takes.
inline Matrix activations(const KernelInfo& kernel, const Matrix& x) {
  const Format format = kernel.roundings.activation;
  Matrix out(x.view().rows, x.view().cols, format);
  if (format == Format::f32) {
    std::memcpy(out.view().data, x.view().data, static_cast<size_t>(x.view().rows * x.view().stride));
    return out;
  }
  KernelArgs args;
  args.in[0] = x.view();
  args.out = out.view();
  run(*row_kernel(OpKind::quantize, kernel.isa, format), args);
  return out;
}

inline void matmul(const KernelInfo& kernel, const PackedWeight& weight, View x, View out, int parts = 1) {
  KernelArgs args;
  args.in[0] = x;
  args.out = out;
  args.weight = &weight;
  run(kernel, args, parts);
}

inline PackedWeight random_weight(TensorType type, int64_t n, int64_t k, uint64_t seed) {
  return pack(type, file_rows(type, n, k, seed), n, k);
}

/// Equality of bits; a NaN equals any NaN.
inline bool same(float a, float b) {
  return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}

/// The first difference of two views of f32, as text; empty when all bits are equal.
inline std::string difference(const View& a, const View& b) {
  for (int64_t r = 0; r < a.rows; ++r) {
    for (int64_t c = 0; c < a.cols; ++c) {
      if (same(a.row(r)[c], b.row(r)[c])) continue;
      char text[128];
      std::snprintf(text, sizeof text, "row %lld col %lld: %a against %a", static_cast<long long>(r),
                    static_cast<long long>(c), static_cast<double>(a.row(r)[c]),
                    static_cast<double>(b.row(r)[c]));
      return text;
    }
  }
  return {};
}

#define GRETA_TYPE(type) TensorType::type,
inline constexpr TensorType kTypes[] = {TensorType::f32, TensorType::f16, TensorType::bf16,
                                        GRETA_BLOCK_TYPES(GRETA_TYPE)};
#undef GRETA_TYPE

}  // namespace greta::test
