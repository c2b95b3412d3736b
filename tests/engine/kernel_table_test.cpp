#include "engine/kernel_table.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "kernels/gpu/table.h"
#include "sim/matmul.h"

namespace greta::test {
namespace {

TEST(Table, NamesAreUniqueAndSayUnitShapeAndType) {
  std::set<std::string> names;
  for (const KernelInfo& kernel : kernel_table()) {
    EXPECT_TRUE(names.insert(kernel.name).second) << kernel.name;
    if (kernel.device != "cpu") {
      std::string device = kernel.device;
      std::replace(device.begin(), device.end(), ':', '.');
      EXPECT_TRUE(kernel.name.starts_with(device + ".")) << kernel.name;
      continue;
    }
    EXPECT_TRUE(kernel.name.starts_with(fmt::format("cpu.{}", name(kernel.isa)))) << kernel.name;
    if (kernel.op != OpKind::matmul) continue;
    const std::string end = fmt::format(".{}.{}", name(*kernel.shape), name(*kernel.weight_type));
    EXPECT_TRUE(kernel.name.ends_with(end)) << kernel.name;
  }
  for (const char* expected : {"cpu.avx512vnni.gemm.q4_1", "cpu.avx512bf16.gemv.bf16", "cpu.avx512.gemm.f32",
                               "cpu.avx2int8.gemv.q8_0", "cpu.scalarint8.gemm.q4_1", "cpu.avx512.rms_norm",
                               "cpu.avx512.quantize.q8_block32", "cpu.avx2.attention"}) {
    EXPECT_TRUE(names.count(expected)) << expected;
  }
}

TEST(Table, EveryIsaHasTheSameKernels) {
  const auto key = [](const KernelInfo& k) {
    return std::tuple(k.op, k.weight_type, k.route, k.shape, k.roundings.activation, k.roundings.output);
  };
  for (const KernelInfo& kernel : kernel_table()) {
    if (kernel.device != "cpu") continue;  // of any ISA
    for (Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
      int found = 0;
      for (const KernelInfo& other : kernel_table())
        found += other.device == "cpu" && other.isa == isa && key(other) == key(kernel);
      EXPECT_EQ(found, 1) << kernel.name << " on " << name(isa);
    }
  }
}

/// Faulty twins and experiments run it in a GPU kernel's place; and no name of the list of kernels is without
/// a row.
TEST(Table, EveryKernelOfAGpuHasOneOfTheCpuWithItsBits) {
  for (const KernelInfo& kernel : kernel_table()) {
    if (kernel.on_device == nullptr) continue;
    std::string symbol = kernel.on_device->symbol;
    const std::string type = kernel.weight_type ? fmt::format("_{}", name(*kernel.weight_type)) : "";
    EXPECT_TRUE(symbol.ends_with(type)) << symbol;
    EXPECT_EQ(kernel_on(kernel.device, static_cast<int32_t>(kernel.on_device->id)), &kernel) << symbol;
    if (kernel.roundings.slice > 0) {  // a card's matrix unit: its simulation has the bits
      EXPECT_EQ(kernel.run, &sim::matrix_slices) << kernel.name;
      EXPECT_NE(kernel.roundings.unit, nullptr) << kernel.name;
      continue;
    }
    const auto equals = [&](OpKind op, const Roundings& roundings) {
      int count = 0;
      for (const KernelInfo& cpu : cpu_kernels()) {
        count += cpu.isa == Isa::scalar && cpu.op == op && cpu.weight_type == kernel.weight_type &&
                 cpu.route == kernel.route && cpu.shape == kernel.shape && cpu.roundings == roundings;
      }
      return count;
    };
    if (equals(kernel.op, kernel.roundings) == 1) continue;
    // Or it has the op and the rounding behind it, each by itself.
    EXPECT_TRUE(equals(kernel.op, {}) == 1 && equals(OpKind::quantize, kernel.roundings) == 1) << kernel.name;
  }
}

TEST(Table, AMissingKernelSaysWhy) {
  std::string why;
  EXPECT_EQ(find_kernel({OpKind::matmul, Isa::scalar, TensorType::f32, Route::matrix, Shape::gemm}, &why),
            nullptr);
  EXPECT_NE(why.find("no unit of this CPU multiplies f32 in a matrix"), std::string::npos) << why;
  EXPECT_EQ(find_kernel({OpKind::matmul, Isa::scalar, TensorType::q8_k, Route::vector, Shape::gemm}, &why),
            nullptr);
  EXPECT_NE(why.find("q8_k"), std::string::npos) << why;
}

TEST(Table, TheScalarKernelsRunEverywhere) {
  for (const KernelInfo& kernel : kernel_table()) {
    if (kernel.isa == Isa::scalar && !serves("cuda", kernel.device)) {
      EXPECT_EQ(kernel.missing, "") << kernel.name;
    }
  }
}

}  // namespace
}  // namespace greta::test
