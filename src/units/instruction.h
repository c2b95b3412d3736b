#pragma once
// The matrix units of GPUs as a table: each instruction's shape, formats and the parameters of the one rule
// family that describes its rounding. Facts: Xie et al., "MMA-Sim: Bit-accurate reference model of tensor
// cores and matrix cores", arXiv 2511.10909 (https://github.com/microsoft/MMA-Sim).
// docs/numerics.md has the rules in words.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace greta::units {

/// Formats of elements. tf32 is f32 in memory whose low 13 bits the unit ignores.
enum class Element { f32, tf32, f16, bf16, e4m3, e5m2, e4m3fnuz, e5m2fnuz };

struct ElementInfo {
  std::string_view name;
  int bytes;
  int min_exponent;  // of normal numbers; subnormals keep it
};
const ElementInfo& info(Element element);

/// The value of an element, exact (tf32: of the bits that count). `bits` in the low bytes.
float to_f32(Element element, uint32_t bits);

/// How a group of products joins the running sum.
enum class Rule {
  fma_chain,   // f32 FMAs one after the other
  pairwise,    // a tree of f32 FMAs per group, then an f32 addition
  fused,       // products and running sum aligned to the largest exponent, truncated, added exactly
  two_f16,     // fp8 as two f16 chains: k % 4 < 2 fused from zero, the rest on top; c added in IEEE
  floored,     // products fused; their sum and the running sum floored at a common exponent; nearest-even
  floored_fp8  // as floored, even and odd products apart
};

/// What a fused sum is rounded to. (The other rules round to f32, to nearest even.)
enum class Output {
  f32_nearest,
  f32_truncated,
  f32_truncated_13,  // toward zero, 13 fractional bits
  f16_nearest
};

/// What a row of the table has been compared with, bit for bit.
enum class Evidence {
  hardware,         // a real unit's answers
  published_model,  // recorded answers of the published model
  rule_only         // nothing recorded: the published rule of its family
};

/// Exponents with which a zero of A or B enters the alignment.
inline constexpr int kZeroPublished = -126;  // in every format: 0 times 2^127 aligns the others to 2^1
inline constexpr int kZeroIgnored = -300;    // below every product and sum, whatever the other factor

struct Instruction {
  std::string unit;         // "cdna3"
  std::string name;         // "mfma.f32_16x16x16_bf16"
  int m = 0, n = 0, k = 0;  // D (m x n) = A (m x k) B (k x n) + C
  Element a{}, b{};
  Element c{}, d{};  // the running sum has the format of d
  Rule rule{};
  int group = 1;          // products per step; k is a multiple
  int fraction_bits = 0;  // F
  Output output = Output::f32_nearest;
  int zero_exponent = kZeroPublished;
  bool flush = false;  // subnormal inputs are 0, intermediate results keep their sign
  Evidence evidence = Evidence::rule_only;
  bool nearest = false;  // rounds to nearest even wherever the rule truncates or floors: no unit of the table

  std::string full_name() const { return unit + "." + name; }
};

std::span<const Instruction> instructions();

/// "cdna3.mfma.f32_16x16x16_bf16". Input Error, with the nearest names, if there is none such.
const Instruction& find_instruction(std::string_view full_name);

std::string_view name(Evidence evidence);
/// "fused 16, F = 25, truncated to f32": one line.
std::string describe_rule(const Instruction& instruction);

}  // namespace greta::units
