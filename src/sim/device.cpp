#include "sim/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/matmul.h"
#include "units/instruction.h"

namespace greta::sim {
namespace {

constexpr std::array<Device, 7> kDevices{{
    {"mi100", 64, "cdna1.mfma.f32_16x16x8bf16", "cdna1.mfma.f32_16x16x16f16"},
    {"mi250x", 64, "cdna2.mfma.f32_16x16x16bf16_1k", "cdna2.mfma.f32_16x16x16f16"},
    {"mi300x", 64, "cdna3.mfma.f32_16x16x16_bf16", "cdna3.mfma.f32_16x16x16_f16"},
    {"v100", 32, "", "volta.mma.m8n8k4.f32.f16.f16.f32"},
    {"a100", 32, "ampere.mma.m16n8k16.f32.bf16.bf16.f32", "ampere.mma.m16n8k16.f32.f16.f16.f32"},
    {"h100", 32, "hopper.mma.m16n8k16.f32.bf16.bf16.f32", "hopper.mma.m16n8k16.f32.f16.f16.f32"},
    {"b200", 32, "blackwell.mma.m16n8k16.f32.bf16.bf16.f32", "blackwell.mma.m16n8k16.f32.f16.f16.f32"},
}};

KernelInfo kernel(const Device& device, const std::string& what, Route route, Shape shape,
                  Roundings roundings, KernelFn run) {
  KernelInfo info{fmt::format("sim.{}.{}", device.name, what),
                  OpKind::matmul,
                  {},
                  route,
                  shape,
                  Isa::scalar,
                  roundings,
                  run,
                  "",
                  ""};
  info.device = fmt::format("sim:{}", device.name);
  return info;
}

/// "cdna3.mfma.f32_16x16x16_bf16" -> "mfma_f32_16x16x16_bf16"
std::string label_of(std::string_view instruction) {
  std::string label(instruction.substr(instruction.find('.') + 1));
  std::replace(label.begin(), label.end(), '.', '_');
  return label;
}

void add_matrix(const Device& device, std::string_view instruction, Format input,
                std::vector<KernelInfo>& all) {
  if (instruction.empty()) return;
  const Roundings roundings{
      .activation = input, .weight = input, .unit = &units::find_instruction(instruction)};
  const std::string label = label_of(instruction);
  all.push_back(kernel(device, label + ".gemm", Route::matrix, Shape::gemm, roundings, matrix_gemm));
  Roundings split = roundings;
  split.splits = kGemvSplits;
  all.push_back(kernel(device, fmt::format("{}.gemv_splitk{}", label, kGemvSplits), Route::matrix,
                       Shape::gemv, split, matrix_gemv));
}

}  // namespace

std::span<const Device> devices() { return kDevices; }

std::vector<KernelInfo> kernels() {
  std::vector<KernelInfo> all;
  for (const Device& device : kDevices) {
    add_matrix(device, device.bf16, Format::bf16, all);
    add_matrix(device, device.f16, Format::f16, all);
    all.push_back(kernel(device, "vector.gemm", Route::vector, Shape::gemm, {}, vector_gemm));
    all.push_back(kernel(device, fmt::format("vector.gemv_wave{}", device.wave), Route::vector, Shape::gemv,
                         {}, device.wave == 64 ? vector_gemv_wave64 : vector_gemv_wave32));
  }
  return all;
}

}  // namespace greta::sim
