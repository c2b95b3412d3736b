// Matrix units: multiply-adds per second of one thread, per form. "multiply" has its operands split already
// (a GEMM's inner loop); "gemv" splits the weights, too.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <random>

#include "numerics/matrix_core/block.h"

namespace greta::bench {
namespace {

using benchmark::Counter;
using benchmark::State;

constexpr int64_t kDepth = 576;  // K

/// Random elements whose products don't overflow: what weights and activations look like.
std::vector<std::byte> elements(mma::Element element, int64_t count) {
  std::mt19937_64 engine(5);
  std::vector<std::byte> bytes;
  const int width = mma::info(element).bytes;
  while (static_cast<int64_t>(bytes.size()) < count * width) {
    const auto bits = static_cast<uint32_t>(engine());
    const float x = mma::to_f32(element, bits);
    if (!(x > -8 && x < 8) || (x > -0.01f && x < 0.01f)) continue;
    for (int i = 0; i < width; ++i) bytes.push_back(static_cast<std::byte>(bits >> 8 * i));
  }
  return bytes;
}

void multiply(State& state, const mma::Instruction* instruction, mma::Form form, int64_t rows, bool split) {
  const int64_t k = kDepth / instruction->k * instruction->k;
  const std::vector<std::byte> a_bits = elements(instruction->a, rows * k),
                               b_bits = elements(instruction->b, k * mma::kColumns);
  mma::Operand a, b;
  a.assign(*instruction, instruction->a, a_bits.data(), rows * k, form);
  b.assign(*instruction, instruction->b, b_bits.data(), k * mma::kColumns, form);
  std::vector<float> acc(static_cast<size_t>(rows) * mma::kColumns, 0);
  for (auto _ : state) {
    if (split) b.assign(*instruction, instruction->b, b_bits.data(), k * mma::kColumns, form);
    mma::multiply(*instruction, form, a, b, rows, k, acc.data(), mma::kColumns);
    benchmark::ClobberMemory();
    std::fill(acc.begin(), acc.end(), 0.0f);
  }
  state.counters["GMA/s"] =
      Counter(static_cast<double>(rows * k * mma::kColumns) * 1e-9, Counter::kIsIterationInvariantRate);
}

const int kRegistered = [] {
  for (const char* name :
       {"cdna3.mfma.f32_16x16x16_bf16", "cdna3.mfma.f32_16x16x16_f16", "cdna3.mfma.f32_16x16x8_xf32",
        "cdna3.mfma.f32_16x16x32_fp8_fp8", "cdna3.mfma.f32_16x16x4_f32", "cdna1.mfma.f32_16x16x16f16",
        "cdna2.mfma.f32_16x16x16bf16_1k", "volta.mma.m8n8k4.f32.f16.f16.f32",
        "ampere.mma.m16n8k16.f32.bf16.bf16.f32", "hopper.mma.m16n8k16.f32.bf16.bf16.f32",
        "hopper.mma.m16n8k16.f16.f16.f16.f16", "hopper.wgmma.m64n8k32.f32.e4m3.e4m3"}) {
    const mma::Instruction* instruction = &mma::find_instruction(name);
    for (const mma::Form form : {mma::Form::avx512, mma::Form::avx2, mma::Form::scalar}) {
      if (form > mma::best_form()) continue;
      benchmark::RegisterBenchmark(fmt::format("multiply/{}/{}", name, mma::name(form)).c_str(), multiply,
                                   instruction, form, form == mma::Form::scalar ? 4 : 64, false);
      if (form == mma::Form::scalar) break;
      benchmark::RegisterBenchmark(fmt::format("gemv/{}/{}", name, mma::name(form)).c_str(), multiply,
                                   instruction, form, 1, true);
    }
  }
  return 0;
}();

}  // namespace
}  // namespace greta::bench
