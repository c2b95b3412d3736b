#include "engine/kernel_table.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <set>

namespace greta::test {
namespace {

TEST(Table, NamesAreUniqueAndSayUnitShapeAndType) {
  std::set<std::string> names;
  for (const KernelInfo& kernel : kernel_table()) {
    EXPECT_TRUE(names.insert(kernel.name).second) << kernel.name;
    if (kernel.device != "cpu") {
      const std::string device = kernel.device.substr(kernel.device.find(':') + 1);
      EXPECT_TRUE(kernel.name.starts_with("sim." + device + ".")) << kernel.name;
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
    if (kernel.isa == Isa::scalar) {
      EXPECT_EQ(kernel.missing, "") << kernel.name;
    }
  }
}

}  // namespace
}  // namespace greta::test
