#include "base/cpu_features.h"

#include <cpuid.h>

#include <array>
#include <cstdint>

#include "base/error.h"

namespace greta {
namespace {

/// Features in the order of the bits that detect() gathers.
struct Feature {
  std::string_view name;
  uint32_t leaf, subleaf;
  int reg;  // 0 eax, 1 ebx, 2 ecx, 3 edx
  int bit;
  uint64_t saved;  // bits of XCR0 that the system must have set
};

constexpr uint64_t kYmm = 0x06, kZmm = 0xe6;

constexpr std::array<Feature, 9> kFeatures{{
    {"fma", 1, 0, 2, 12, kYmm},
    {"f16c", 1, 0, 2, 29, kYmm},
    {"avx2", 7, 0, 1, 5, kYmm},
    {"avx512f", 7, 0, 1, 16, kZmm},
    {"avx512dq", 7, 0, 1, 17, kZmm},
    {"avx512bw", 7, 0, 1, 30, kZmm},
    {"avx512vl", 7, 0, 1, 31, kZmm},
    {"avx512vnni", 7, 0, 2, 11, kZmm},
    {"avx512bf16", 7, 1, 0, 5, kZmm},
}};

uint64_t saved_registers() {
  uint32_t regs[4] = {};
  if (!__get_cpuid(1, &regs[0], &regs[1], &regs[2], &regs[3]) || !(regs[2] >> 27 & 1)) return 0;
  uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<uint64_t>(high) << 32 | low;
}

bool has(const Feature& feature) {
  static const uint64_t saved = saved_registers();
  uint32_t regs[4] = {};
  if (!__get_cpuid_count(feature.leaf, feature.subleaf, &regs[0], &regs[1], &regs[2], &regs[3])) return false;
  return (regs[feature.reg] >> feature.bit & 1) && (saved & feature.saved) == feature.saved;
}

}  // namespace

std::string missing_features(std::string_view needs) {
  std::string missing;
  while (!needs.empty()) {
    const std::string_view word = needs.substr(0, needs.find(' '));
    needs.remove_prefix(word.size() < needs.size() ? word.size() + 1 : word.size());
    const Feature* found = nullptr;
    for (const Feature& feature : kFeatures) {
      if (feature.name == word) found = &feature;
    }
    if (found == nullptr) fail_machine("code needs the unknown CPU feature {}", word);
    if (has(*found)) continue;
    if (!missing.empty()) missing += ' ';
    missing += word;
  }
  return missing;
}

}  // namespace greta
