// Matrix units against recorded answers (tests/goldens/README.md), and the vector forms against the scalar
// one. No tolerance anywhere: the same bits, NaN included.

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "base/error.h"
#include "base/fp8.h"
#include "base/half.h"
#include "numerics/golden_file.h"
#include "sim/evaluate.h"
#include "sim/rule.h"

namespace greta::sim {
namespace {

using namespace units;

using Bytes = std::vector<std::byte>;

/// Answers of published models, and of an H100 to the same questions.
const test::GoldenFile& published() {
  static const test::GoldenFile file("mma.safetensors");
  return file;
}

/// Answers of an H200 to tools/check_mma_cuda.cu.
const test::GoldenFile& h200() {
  static const test::GoldenFile file("mma_hopper.safetensors");
  return file;
}

/// "UNIT.INSTRUCTION/DISTRIBUTION/i" of every case.
std::set<std::string> cases(const test::GoldenFile& goldens) {
  std::set<std::string> names;
  for (const auto& [key, entry] : goldens.header.items()) names.insert(key.substr(0, key.rfind('/')));
  return names;
}

std::string instruction_of(const std::string& name_of_case) {
  return name_of_case.substr(0, name_of_case.find('/'));
}

std::vector<Form> forms() {
  std::vector<Form> all{Form::scalar, Form::avx2, Form::avx512};
  std::erase_if(all, [](Form form) { return form > best_form(); });
  return all;
}

std::vector<Form> vector_forms() {
  std::vector<Form> all = forms();
  std::erase(all, Form::scalar);
  return all;
}

/// "": the same bits; else the first difference.
std::string first_difference(const Bytes& got, const Bytes& expected, size_t width) {
  if (got.size() != expected.size()) return "sizes differ";
  for (size_t i = 0; i < got.size(); i += width) {
    if (std::memcmp(got.data() + i, expected.data() + i, width) == 0) continue;
    uint32_t g = 0, e = 0;
    std::memcpy(&g, got.data() + i, width);
    std::memcpy(&e, expected.data() + i, width);
    return "output " + std::to_string(i / width) + ": " + std::to_string(g) + " instead of " +
           std::to_string(e);
  }
  return "";
}

class MatrixCoreGolden : public testing::TestWithParam<Form> {};

/// How many instructions the file has answers of.
size_t expect_recorded_bits(const test::GoldenFile& goldens, Form form) {
  std::set<std::string> met;
  for (const std::string& name : cases(goldens)) {
    const Instruction& instruction = find_instruction(instruction_of(name));
    const Bytes d = evaluate(instruction, form, goldens.bytes(name + "/A"), goldens.bytes(name + "/Bt"),
                             goldens.bytes(name + "/C"));
    const auto width = static_cast<size_t>(info(instruction.d).bytes);
    EXPECT_EQ(first_difference(d, goldens.bytes(name + "/D"), width), "") << name;
    if (goldens.header.contains(name + "/D_h100")) {
      EXPECT_EQ(first_difference(d, goldens.bytes(name + "/D_h100"), width), "") << name;
    }
    met.insert(instruction.full_name());
  }
  return met.size();
}

TEST_P(MatrixCoreGolden, EveryRecordedOutputBitForBit) {
  EXPECT_EQ(expect_recorded_bits(published(), GetParam()), 22U);
}

TEST_P(MatrixCoreGolden, EveryAnswerOfAnH200BitForBit) {
  EXPECT_EQ(expect_recorded_bits(h200(), GetParam()), 36U);
}

INSTANTIATE_TEST_SUITE_P(Forms, MatrixCoreGolden, testing::ValuesIn(forms()),
                         [](const auto& form) { return std::string(name(form.param)); });

TEST(MatrixCoreTable, SaysWhatEachRowWasCheckedAgainst) {
  std::set<std::string> recorded, on_hardware, said, said_hardware;
  for (const std::string& name : cases(published())) {
    recorded.insert(instruction_of(name));
    if (published().header.contains(name + "/D_h100")) on_hardware.insert(instruction_of(name));
  }
  for (const std::string& name : cases(h200())) {
    recorded.insert(instruction_of(name));
    on_hardware.insert(instruction_of(name));
  }
  for (const Instruction& row : instructions()) {
    if (row.evidence == Evidence::hardware) said_hardware.insert(row.full_name());
    if (row.evidence == Evidence::hardware || row.evidence == Evidence::published_model) {
      said.insert(row.full_name());
    }
  }
  EXPECT_EQ(said, recorded);
  EXPECT_EQ(said_hardware, on_hardware);
}

TEST(MatrixCoreTable, RowsAreSound) {
  std::set<std::string> names;
  for (const Instruction& row : instructions()) {
    EXPECT_TRUE(names.insert(row.full_name()).second) << row.full_name();
    EXPECT_EQ(row.k % row.group, 0) << row.full_name();
    EXPECT_LE(row.group, 32) << row.full_name();  // room for the terms of a fused sum
    EXPECT_EQ(&find_instruction(row.full_name()), &row);
    EXPECT_NE(describe_rule(row), "");
  }
  EXPECT_GE(names.size(), 120U);
}

TEST(MatrixCoreTable, AnUnknownNameGetsItsNearest) {
  try {
    find_instruction("cdna3.mfma.f32_16x16x16bf16");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_NE(std::string(error.what()).find("cdna3.mfma.f32_16x16x16_bf16"), std::string::npos)
        << error.what();
  }
}

// Values by their definition: sign, exponent field, mantissa, the bias of each format.
TEST(SmallFloats, HaveTheirValuesExhaustive) {
  struct Format {
    float (*decode)(uint8_t);
    int mantissa_bits, bias;
  };
  for (const Format& f : {Format{e4m3_to_f32, 3, 7}, Format{e5m2_to_f32, 2, 15},
                          Format{e4m3fnuz_to_f32, 3, 8}, Format{e5m2fnuz_to_f32, 2, 16}}) {
    for (int x = 0; x < 256; ++x) {
      const float value = f.decode(static_cast<uint8_t>(x));
      if (std::isnan(value) || std::isinf(value)) continue;
      const int field = (x & 127) >> f.mantissa_bits, mantissa = x & ((1 << f.mantissa_bits) - 1);
      const double significand = std::ldexp(mantissa, -f.mantissa_bits) + (field == 0 ? 0 : 1);
      const double expected = std::ldexp(significand, std::max(field, 1) - f.bias) * (x & 128 ? -1 : 1);
      EXPECT_EQ(value, expected) << x;
      EXPECT_EQ(std::signbit(value), x >= 128) << x;
    }
  }
  const auto specials = [](float (*decode)(uint8_t)) {
    std::pair<int, int> count;  // NaN, infinity
    for (int x = 0; x < 256; ++x) {
      count.first += std::isnan(decode(static_cast<uint8_t>(x)));
      count.second += std::isinf(decode(static_cast<uint8_t>(x)));
    }
    return count;
  };
  EXPECT_EQ(specials(e4m3_to_f32), std::pair(2, 0));
  EXPECT_EQ(specials(e5m2_to_f32), std::pair(6, 2));
  EXPECT_EQ(specials(e4m3fnuz_to_f32), std::pair(1, 0));
  EXPECT_EQ(specials(e5m2fnuz_to_f32), std::pair(1, 0));
  EXPECT_EQ(e4m3_to_f32(0x7e), 448);
  EXPECT_EQ(e5m2_to_f32(0x7b), 57344);
  EXPECT_EQ(e4m3fnuz_to_f32(0x7f), 240);
  EXPECT_EQ(e5m2fnuz_to_f32(0x7f), 57344);
}

TEST(SmallFloats, Tf32CutsThirteenBits) {
  EXPECT_EQ(truncate_to_tf32(1 + 0x1p-10f + 0x1p-11f), 1 + 0x1p-10f);
  EXPECT_EQ(truncate_to_tf32(-0x1.fffffep-3f), -0x1.ffcp-3f);
}

// What a rule says, in numbers that can be followed by hand.

float dot_of(const char* name, std::vector<float> a, std::vector<float> b, float c) {
  const Instruction& instruction = find_instruction(name);
  a.resize(static_cast<size_t>(instruction.k));
  b.resize(static_cast<size_t>(instruction.k));
  return dot(instruction, a.data(), b.data(), 1, instruction.k, c);
}

TEST(MatrixCoreRule, Cdna3FloorsItsSums) {
  const char* const kBf16 = "cdna3.mfma.f32_16x16x16_bf16";
  // 1 - 2^-40: c is floored at 24 fractional bits of 1's exponent, to 1 - 2^-24; that is an f32.
  EXPECT_EQ(dot_of(kBf16, {1}, {1}, -0x1p-40f), 1 - 0x1p-24f);
  EXPECT_EQ(dot_of(kBf16, {1}, {1}, 0x1p-40f), 1);
  // A product is truncated at 24 bits of the largest product's exponent: 2^-30 vanishes with either sign.
  EXPECT_EQ(dot_of(kBf16, {1, -0x1p-30f}, {1, 1}, 0), 1);
  // but the products' sum, floored at 31 bits of c's exponent, does not.
  EXPECT_EQ(dot_of(kBf16, {-0x1p-40f}, {1}, 1), std::nextafter(1.0f, 0.0f) + 0x1p-24f);
  // The next group of 8 meets a rounded sum.
  std::vector<float> a(9, 0);
  a[0] = 1, a[8] = 0x1p-24f;
  EXPECT_EQ(dot_of(kBf16, a, std::vector<float>(9, 1), 0), 1);
}

TEST(MatrixCoreRule, NvidiaTruncatesAtItsFractionalBits) {
  const std::vector<float> ones(16, 1);
  // 1 + 2^-24 + 2^-24: kept with F = 24 and 25, the sum 1 + 2^-23 is an f32; cut with F = 23.
  const std::vector<float> a = {1, 0x1p-24f, 0x1p-24f};
  EXPECT_EQ(dot_of("hopper.mma.m16n8k8.f32.f16.f16.f32", a, {1, 1, 1}, 0), 1 + 0x1p-23f);
  EXPECT_EQ(dot_of("turing.mma.m16n8k8.f32.f16.f16.f32", a, {1, 1, 1}, 0), 1 + 0x1p-23f);
  EXPECT_EQ(dot_of("volta.mma.m8n8k4.f32.f16.f16.f32", a, {1, 1, 1}, 0), 1);
  // 2^-25 four times: F = 25 keeps them.
  const std::vector<float> b = {1, 0x1p-13f, 0x1p-13f, 0x1p-13f, 0x1p-13f},
                           c = {1, 0x1p-12f, 0x1p-12f, 0x1p-12f, 0x1p-12f};
  EXPECT_EQ(dot_of("hopper.mma.m16n8k8.f32.f16.f16.f32", b, c, 0), 1 + 0x1p-23f);
  EXPECT_EQ(dot_of("turing.mma.m16n8k8.f32.f16.f16.f32", b, c, 0), 1);
  // The f32 output is truncated, the f16 output rounded.
  EXPECT_EQ(dot_of("hopper.mma.m16n8k8.f32.f16.f16.f32", {1, 0x1p-12f, 0x1p-12f}, {1, 0x1.8p-12f, 0}, 0), 1);
  EXPECT_EQ(dot_of("hopper.mma.m16n8k8.f16.f16.f16.f16", {1, 0x1.8p-11f}, {1, 1}, 0), 1 + 0x1p-10f);
  // fp8 on wgmma: 13 fractional bits.
  EXPECT_EQ(dot_of("hopper.wgmma.m64n8k32.f32.e4m3.e4m3", {1, 0x1p-7f}, {1, 0x1p-7f}, 0), 1);
  EXPECT_EQ(dot_of("hopper.wgmma.m64n8k32.f32.e4m3.e4m3", {1, 0x1p-7f}, {1, 0x1p-6f}, 0), 1 + 0x1p-13f);
}

// As an H200 does; the published rule lets zero count as 2^-126.
TEST(MatrixCoreRule, AZeroProductAlignsNothingOnHopper) {
  const std::vector<float> a = {0x1p-2f, 0x1p-14f, 0}, b = {1, 0x1p-11f, 0x1p127f};  // 2^-25 < 2^(1 - 25)
  EXPECT_EQ(dot_of("hopper.mma.m16n8k8.f32.bf16.bf16.f32", a, b, 0), 0x1p-2f + 0x1p-25f);
  EXPECT_EQ(dot_of("blackwell.mma.m16n8k8.f32.bf16.bf16.f32", a, b, 0), 0x1p-2f);
  EXPECT_TRUE(std::isnan(dot_of("hopper.mma.m16n8k8.f32.bf16.bf16.f32", {0}, {INFINITY}, 0)));
}

// Unpacked to f16, k % 4 < 2 first, from zero; C is added to nearest.
TEST(MatrixCoreRule, HopperHasNoFp8Mma) {
  const char* const kFp8 = "hopper.mma.m16n8k32.f32.e5m2.e5m2.f32";
  // Cut when C is part of the fused sum, rounded up when it is added: 1 + 1.5 * 2^-24.
  EXPECT_EQ(dot_of(kFp8, {0x1p-12f, 0x1p-12f}, {0x1p-12f, 0x1p-13f}, 1), 1 + 0x1p-23f);
  // 2^-27 is lost beside 1 in the same instruction, whichever C; in the other, after 1 - 1 = 0, it is not.
  std::vector<float> a(32, 0), b(32, 1);
  a[0] = 1, a[1] = -1, a[2] = 0x1p-14f, b[2] = 0x1p-13f;
  EXPECT_EQ(dot_of(kFp8, a, b, 0), 0x1p-27f);
  std::swap(a[2], a[16]), std::swap(b[2], b[16]);
  EXPECT_EQ(dot_of(kFp8, a, b, 0), 0);
}

TEST(MatrixCoreRule, AmpereTakesHalvesOfK) {
  std::vector<float> a(16, 0), ones(16, 1);
  a[0] = 0x1p-24f, a[8] = 1, a[9] = -1;
  // One sum of 16 would align 2^-24 to 1 and keep it (F = 24); 2^-26 only survives in a half of its own.
  a[0] = 0x1p-14f;
  std::vector<float> b = ones;
  b[0] = 0x1p-12f;
  EXPECT_EQ(dot_of("ampere.mma.m16n8k16.f32.f16.f16.f32", a, b, 0), 0);  // second half: c = 2^-26 is cut
  std::swap(a[0], a[15]), std::swap(b[0], b[15]);
  std::swap(a[8], a[0]), std::swap(a[9], a[1]);
  EXPECT_EQ(dot_of("ampere.mma.m16n8k16.f32.f16.f16.f32", a, b, 0), 0x1p-26f);
  EXPECT_EQ(dot_of("hopper.mma.m16n8k16.f32.f16.f16.f32", a, b, 0), 0);
}

TEST(MatrixCoreRule, SpecialValues) {
  const float inf = INFINITY;
  const auto bits = [](float x) { return std::bit_cast<uint32_t>(x); };
  const char* const kHopper = "hopper.mma.m16n8k16.f32.bf16.bf16.f32";
  const char* const kCdna3 = "cdna3.mfma.f32_16x16x16_bf16";
  EXPECT_EQ(bits(dot_of(kHopper, {inf}, {0}, 0)), 0x7fffffffu);
  EXPECT_EQ(dot_of(kHopper, {inf}, {-1}, 0), -inf);
  EXPECT_EQ(dot_of(kHopper, {0x1p127f}, {0x1p127f}, 0), inf);
  EXPECT_EQ(bits(dot_of(kHopper, {0x1p127f, -0x1p127f}, {0x1p127f, 0x1p127f}, 0)), 0u);
  EXPECT_EQ(bits(dot_of(kHopper, {-0.0f}, {1}, -0.0f)), 0u);
  // Infinities of its own.
  EXPECT_TRUE(std::isnan(dot_of(kCdna3, {0x1p127f, -0x1p127f}, {0x1p127f, 0x1p127f}, 0)));
  EXPECT_EQ(dot_of(kCdna3, {0x1p64f}, {-0x1p64f}, 1), -inf);
  EXPECT_EQ(bits(dot_of("cdna3.mfma.f32_16x16x4_f32", {-0.0f, -0.0f, -0.0f, -0.0f}, {1, 1, 1, 1}, -0.0f)),
            1u << 31);
}

TEST(MatrixCoreRule, Cdna2Flushes) {
  const Instruction& instruction = find_instruction("cdna2.mfma.f32_16x16x16f16");
  EXPECT_EQ(read_input(instruction, Element::f16, 0x03ff), 0);
  EXPECT_EQ(read_input(instruction, Element::f16, 0x0400), 0x1p-14f);
  EXPECT_EQ(dot_of("cdna2.mfma.f32_16x16x16bf16_1k", {0x1p-100f}, {0x1p-30f}, 0), 0);
  EXPECT_EQ(dot_of("cdna1.mfma.f32_16x16x16f16", {0x1p-100f}, {0x1p-30f}, 0), 0x1p-130f);
}

// A vector form equals the scalar one.

/// Bits of elements of one distribution.
enum class Kind { any_bits, normal, cancelling, tiny, wide, sparse, special };
constexpr int kKinds = 7;

class Bits {
 public:
  explicit Bits(uint64_t seed) : state_(seed) {}
  uint64_t next() {  // splitmix64
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  /// An element with a random sign and mantissa, its exponent field in [low, high] of the format's range.
  uint32_t element(Element element, double low, double high) {
    const auto [exponent_bits, mantissa_bits] = layout(element);
    const double top = (1 << exponent_bits) - 1;
    const double at = low + (high - low) * static_cast<double>(next() >> 11) * 0x1p-53;
    const auto field = static_cast<uint32_t>(std::lround(at * top));
    const auto mantissa = static_cast<uint32_t>(next()) & ((1u << mantissa_bits) - 1);
    return static_cast<uint32_t>(next() & 1) << (exponent_bits + mantissa_bits) | field << mantissa_bits |
           mantissa;
  }
  uint32_t of(Element type, Kind kind) {
    switch (kind) {
      case Kind::any_bits: return static_cast<uint32_t>(next());
      case Kind::normal: return element(type, 0.4, 0.55);
      case Kind::cancelling: return element(type, 0.5, 0.5);
      case Kind::tiny: return element(type, 0, 0.1);
      case Kind::wide: return element(type, 0.02, 0.98);
      case Kind::sparse:
        return next() % 3 ? static_cast<uint32_t>(next() & 1) << top_bit(type) : element(type, 0.2, 0.8);
      case Kind::special:
        return next() % 4 ? element(type, 0.3, 0.7) : next() & 1 ? element(type, 1, 1) : element(type, 0, 0);
    }
    return 0;
  }

 private:
  static std::pair<int, int> layout(Element element) {
    switch (element) {
      case Element::f32:
      case Element::tf32: return {8, 23};
      case Element::f16: return {5, 10};
      case Element::bf16: return {8, 7};
      case Element::e4m3:
      case Element::e4m3fnuz: return {4, 3};
      default: return {5, 2};
    }
  }
  static int top_bit(Element element) { return layout(element).first + layout(element).second; }
  uint64_t state_;
};

Bytes matrix(Bits& bits, Element element, Kind kind, int rows, int cols) {
  const auto width = static_cast<size_t>(info(element).bytes);
  Bytes bytes(static_cast<size_t>(rows * cols) * width);
  for (size_t i = 0; i < bytes.size(); i += width) {
    const uint32_t word = bits.of(element, kind);
    std::memcpy(bytes.data() + i, &word, width);
    // A pair that cancels: the second half of a row is the first with the other sign.
    const auto row = static_cast<size_t>(cols) * width, at = i % row;
    if (kind == Kind::cancelling && cols > 1 && at >= row / 2) {
      std::memcpy(bytes.data() + i, bytes.data() + i - row / 2, width);
      if (rows % 3 != 0) bytes[i + width - 1] ^= std::byte{0x80};
    }
  }
  return bytes;
}

class MatrixCoreForm : public testing::TestWithParam<Form> {};

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(MatrixCoreForm);  // on a machine with the scalar form only
INSTANTIATE_TEST_SUITE_P(Forms, MatrixCoreForm, testing::ValuesIn(vector_forms()),
                         [](const auto& form) { return std::string(name(form.param)); });

TEST_P(MatrixCoreForm, EqualsScalar) {
  const auto same = rc::check("vector == scalar", [](uint64_t seed) {
    Bits bits(seed);
    const auto& row = instructions()[bits.next() % instructions().size()];
    const auto kind = [&] { return static_cast<Kind>(bits.next() % kKinds); };
    const Bytes a = matrix(bits, row.a, kind(), row.m, row.k), bt = matrix(bits, row.b, kind(), row.n, row.k);
    const Bytes c = matrix(bits, row.c, kind(), row.m, row.n);
    const Bytes expected = evaluate(row, Form::scalar, a, bt, c), got = evaluate(row, GetParam(), a, bt, c);
    const std::string difference = first_difference(got, expected, static_cast<size_t>(info(row.d).bytes));
    RC_LOG() << row.full_name();
    RC_ASSERT(difference == "");
  });
  EXPECT_TRUE(same);
}

// Every instruction with every pair of distributions, since a random draw meets each only now and then.
TEST_P(MatrixCoreForm, EqualsScalarForEveryRow) {
  Bits bits(7);
  for (const Instruction& row : instructions()) {
    for (int kind = 0; kind < kKinds * kKinds; ++kind) {
      const auto of_a = static_cast<Kind>(kind % kKinds), of_c = static_cast<Kind>(kind / kKinds);
      const Bytes a = matrix(bits, row.a, of_a, row.m, row.k), bt = matrix(bits, row.b, of_a, row.n, row.k);
      const Bytes c = matrix(bits, row.c, of_c, row.m, row.n);
      ASSERT_EQ(first_difference(evaluate(row, GetParam(), a, bt, c), evaluate(row, Form::scalar, a, bt, c),
                                 static_cast<size_t>(info(row.d).bytes)),
                "")
          << row.full_name() << " distribution " << kind;
    }
  }
}

// A GEMM is a loop of the instruction along K, the sum staying in its format.
TEST(MatrixCoreForms, ALongKIsALoopOfTheInstruction) {
  for (const char* name : {"cdna3.mfma.f32_16x16x16_bf16", "cdna2.mfma.f32_16x16x16f16",
                           "ampere.mma.m16n8k16.f32.f16.f16.f32", "hopper.mma.m16n8k16.f16.f16.f16.f16"}) {
    const Instruction& row = find_instruction(name);
    Bits bits(11);
    const int rows = 3, steps = 5, k = row.k * steps;
    const Bytes a = matrix(bits, row.a, Kind::wide, rows, k),
                b = matrix(bits, row.b, Kind::normal, k, kColumns);
    for (const Form form : forms()) {
      Operand whole_a, whole_b;
      whole_a.assign(row, row.a, a.data(), rows * k, form);
      whole_b.assign(row, row.b, b.data(), k * kColumns, form);
      std::vector<float> acc(rows * 20, 0), expected;
      multiply(row, form, whole_a, whole_b, rows, k, acc.data(), 20);
      for (int i = 0; i < rows; ++i) {
        for (int j = 0; j < kColumns; ++j) {
          float sum = 0;
          for (int s = 0; s < k; s += row.k) {
            sum = dot(row, whole_a.values() + i * k + s, whole_b.values() + s * kColumns + j, kColumns, row.k,
                      sum);
          }
          ASSERT_EQ(std::bit_cast<uint32_t>(acc[static_cast<size_t>(i * 20 + j)]),
                    std::bit_cast<uint32_t>(sum))
              << name << ' ' << i << ' ' << j;
        }
      }
    }
  }
}

}  // namespace
}  // namespace greta::sim
