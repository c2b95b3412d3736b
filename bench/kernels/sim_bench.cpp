// Matrix units: multiply-adds per second of one thread, per form. "multiply" has its operands split already
// (a GEMM's inner loop); "gemv" splits the weights, too.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <random>

#include "sim/block.h"

namespace greta::bench {
namespace {

using benchmark::Counter;
using benchmark::State;

constexpr int64_t kDepth = 576;  // K

/// Random elements whose products don't overflow: what weights and activations look like.
std::vector<std::byte> elements(units::Element element, int64_t count) {
  std::mt19937_64 engine(5);
  std::vector<std::byte> bytes;
  const int width = units::info(element).bytes;
  while (static_cast<int64_t>(bytes.size()) < count * width) {
    const auto bits = static_cast<uint32_t>(engine());
    const float x = units::to_f32(element, bits);
    if (!(x > -8 && x < 8) || (x > -0.01f && x < 0.01f)) continue;
    for (int i = 0; i < width; ++i) bytes.push_back(static_cast<std::byte>(bits >> 8 * i));
  }
  return bytes;
}

void multiply(State& state, const units::Instruction* instruction, sim::Form form, int64_t rows, bool split) {
  const int64_t k = kDepth / instruction->k * instruction->k;
  const std::vector<std::byte> a_bits = elements(instruction->a, rows * k),
                               b_bits = elements(instruction->b, k * sim::kColumns);
  sim::Operand a, b;
  a.assign(*instruction, instruction->a, a_bits.data(), rows * k, form);
  b.assign(*instruction, instruction->b, b_bits.data(), k * sim::kColumns, form);
  std::vector<float> acc(static_cast<size_t>(rows) * sim::kColumns, 0);
  for (auto _ : state) {
    if (split) b.assign(*instruction, instruction->b, b_bits.data(), k * sim::kColumns, form);
    sim::multiply(*instruction, form, a, b, rows, k, acc.data(), sim::kColumns);
    benchmark::ClobberMemory();
    std::fill(acc.begin(), acc.end(), 0.0f);
  }
  state.counters["GMA/s"] =
      Counter(static_cast<double>(rows * k * sim::kColumns) * 1e-9, Counter::kIsIterationInvariantRate);
}

const int kRegistered = [] {
  for (const char* name :
       {"cdna3.mfma.f32_16x16x16_bf16", "cdna3.mfma.f32_16x16x16_f16", "cdna3.mfma.f32_16x16x8_xf32",
        "cdna3.mfma.f32_16x16x32_fp8_fp8", "cdna3.mfma.f32_16x16x4_f32", "cdna1.mfma.f32_16x16x16f16",
        "cdna2.mfma.f32_16x16x16bf16_1k", "volta.mma.m8n8k4.f32.f16.f16.f32",
        "ampere.mma.m16n8k16.f32.bf16.bf16.f32", "hopper.mma.m16n8k16.f32.bf16.bf16.f32",
        "hopper.mma.m16n8k16.f16.f16.f16.f16", "hopper.wgmma.m64n8k32.f32.e4m3.e4m3"}) {
    const units::Instruction* instruction = &units::find_instruction(name);
    for (const sim::Form form : {sim::Form::avx512, sim::Form::avx2, sim::Form::scalar}) {
      if (form > sim::best_form()) continue;
      benchmark::RegisterBenchmark(fmt::format("multiply/{}/{}", name, sim::name(form)).c_str(), multiply,
                                   instruction, form, form == sim::Form::scalar ? 4 : 64, false);
      if (form == sim::Form::scalar) break;
      benchmark::RegisterBenchmark(fmt::format("gemv/{}/{}", name, sim::name(form)).c_str(), multiply,
                                   instruction, form, 1, true);
    }
  }
  return 0;
}();

}  // namespace
}  // namespace greta::bench
