#include "units/instruction.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "base/fp8.h"
#include "base/half.h"

namespace greta::units {
namespace {

/// Rows compared with recorded answers of the published model (tests/goldens/README.md). All of Hopper's were
/// compared with hardware: add().
constexpr std::string_view kOnPublishedModel[] = {
    "cdna3.mfma.f32_16x16x16_bf16",        "cdna3.mfma.f32_16x16x16_f16",
    "cdna3.mfma.f32_16x16x32_bf8_fp8",     "cdna3.mfma.f32_16x16x32_fp8_fp8",
    "cdna3.mfma.f32_16x16x4_4b_bf16",      "cdna3.mfma.f32_16x16x4_f32",
    "cdna3.mfma.f32_16x16x8_xf32",         "cdna3.mfma.f32_32x32x2_f32",
    "cdna3.mfma.f32_32x32x8_bf16",         "cdna3.mfma.f32_32x32x8_f16",
    "cdna1.mfma.f32_16x16x16f16",          "cdna1.mfma.f32_16x16x8bf16",
    "cdna2.mfma.f32_16x16x16bf16_1k",      "cdna2.mfma.f32_16x16x16f16",
    "cdna2.mfma.f32_32x32x8bf16_1k",       "ampere.mma.m16n8k16.f32.bf16.bf16.f32",
    "ampere.mma.m16n8k16.f32.f16.f16.f32", "ampere.mma.m16n8k8.f32.tf32.tf32.f32"};

template <size_t kCount>
bool contains(const std::string_view (&names)[kCount], const std::string& name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

class Table {
 public:
  Table() {
    add_cdna("cdna1", false);
    add_cdna("cdna2", true);
    add_cdna3();
    add_volta();
    add_mma("turing", 24, {.turing_only = true});
    add_mma("ampere", 24, {.halves = true});
    add_mma("ada", 24, {.halves = true});
    add_ada_fp8();
    add_mma("hopper", 25, {});
    add_hopper_fp8_mma();
    add_wgmma();
    add_mma("blackwell", 25, {});
  }
  const std::vector<Instruction>& rows() const { return rows_; }

 private:
  struct MmaOptions {
    bool turing_only = false;  // f16, K = 8
    bool halves = false;       // the longest K of a format in two steps
  };

  void add(Instruction row) {
    if (row.unit == "hopper") {
      row.evidence = Evidence::hardware;
      row.zero_exponent = kZeroIgnored;  // seen on an H200; the published rule says otherwise
    }
    if (contains(kOnPublishedModel, row.full_name())) row.evidence = Evidence::published_model;
    rows_.push_back(std::move(row));
  }

  void add_mfma(const char* unit, std::string_view name, int mn, int k, Element a, Element b, Rule rule,
                int group, bool flush = false) {
    const bool fused = rule == Rule::floored || rule == Rule::floored_fp8;
    add({unit, fmt::format("mfma.f32_{0}x{0}x{1}{2}", mn, k, name), mn, mn, k, a, b, Element::f32,
         Element::f32, rule, std::min(group, k), fused ? 24 : 0, Output::f32_nearest, kZeroPublished, flush});
  }

  void add_cdna(const char* unit, bool second) {
    struct Shape {
      int mn, k;
    };
    for (const auto [mn, k] : {Shape{32, 2}, Shape{32, 1}, Shape{16, 4}, Shape{16, 1}, Shape{4, 1}}) {
      add_mfma(unit, "f32", mn, k, Element::f32, Element::f32, Rule::fma_chain, 1);
    }
    for (const auto [mn, k] : {Shape{32, 8}, Shape{32, 4}, Shape{16, 16}, Shape{16, 4}, Shape{4, 4}}) {
      add_mfma(unit, "f16", mn, k, Element::f16, Element::f16, Rule::pairwise, 4, second);
    }
    for (const auto [mn, k] : {Shape{32, 4}, Shape{32, 2}, Shape{16, 8}, Shape{16, 2}, Shape{4, 2}}) {
      add_mfma(unit, "bf16", mn, k, Element::bf16, Element::bf16, Rule::pairwise, 2, second);
    }
    if (!second) return;
    for (const auto [mn, k] : {Shape{32, 8}, Shape{32, 4}, Shape{16, 16}, Shape{16, 4}, Shape{4, 4}}) {
      add_mfma(unit, "bf16_1k", mn, k, Element::bf16, Element::bf16, Rule::pairwise, 4, true);
    }
  }

  void add_cdna3() {
    struct Shape {
      int mn, k;
      const char* blocks;
    };
    for (const auto [mn, k, blocks] : {Shape{32, 2, ""}, Shape{32, 1, "_2b"}, Shape{16, 4, ""},
                                       Shape{16, 1, "_4b"}, Shape{4, 1, "_16b"}}) {
      add_mfma("cdna3", fmt::format("{}_f32", blocks), mn, k, Element::f32, Element::f32, Rule::fma_chain, 1);
    }
    for (const auto [mn, k, blocks] : {Shape{16, 8, ""}, Shape{32, 4, ""}}) {
      add_mfma("cdna3", "_xf32", mn, k, Element::tf32, Element::tf32, Rule::floored, 4);
    }
    for (const Element type : {Element::f16, Element::bf16}) {
      for (const auto [mn, k, blocks] : {Shape{32, 8, ""}, Shape{32, 4, "_2b"}, Shape{16, 16, ""},
                                         Shape{16, 4, "_4b"}, Shape{4, 4, "_16b"}}) {
        add_mfma("cdna3", fmt::format("{}_{}", blocks, info(type).name), mn, k, type, type, Rule::floored, 8);
      }
    }
    const auto name = [](Element type) { return type == Element::e4m3fnuz ? "fp8" : "bf8"; };
    for (const auto [mn, k, blocks] : {Shape{16, 32, ""}, Shape{32, 16, ""}}) {
      for (const Element a : {Element::e4m3fnuz, Element::e5m2fnuz}) {
        for (const Element b : {Element::e4m3fnuz, Element::e5m2fnuz}) {
          add_mfma("cdna3", fmt::format("_{}_{}", name(a), name(b)), mn, k, a, b, Rule::floored_fp8, 16);
        }
      }
    }
  }

  /// An instruction of NVIDIA's: D in f32 is truncated, D in f16 rounded to nearest.
  void add_fused(const char* unit, const std::string& name, int m, int n, int k, Element a, Element b,
                 Element c, Element d, int group, int fraction_bits, Rule rule = Rule::fused) {
    const Output output = d == Element::f16     ? Output::f16_nearest
                          : fraction_bits == 13 ? Output::f32_truncated_13
                                                : Output::f32_truncated;
    add({unit, name, m, n, k, a, b, c, d, rule, group, fraction_bits, output});
  }

  void add_mma_row(const char* unit, int k, Element a, Element b, Element d, int group, int fraction_bits,
                   Rule rule = Rule::fused) {
    add_fused(
        unit,
        fmt::format("mma.m16n8k{}.{}.{}.{}.{}", k, info(d).name, info(a).name, info(b).name, info(d).name),
        16, 8, k, a, b, d, d, group, fraction_bits, rule);
  }

  void add_volta() {
    const Element f16 = Element::f16, f32 = Element::f32;
    add_fused("volta", "mma.m8n8k4.f16.f16.f16.f16", 8, 8, 4, f16, f16, f16, f16, 4, 23);
    add_fused("volta", "mma.m8n8k4.f32.f16.f16.f32", 8, 8, 4, f16, f16, f32, f32, 4, 23);
    add_fused("volta", "mma.m8n8k4.f32.f16.f16.f16", 8, 8, 4, f16, f16, f16, f32, 4, 23);
  }

  void add_mma(const char* unit, int fraction_bits, MmaOptions options) {
    const Element f16 = Element::f16, bf16 = Element::bf16, f32 = Element::f32, tf32 = Element::tf32;
    for (const Element d : {f16, f32}) add_mma_row(unit, 8, f16, f16, d, 8, fraction_bits);
    if (options.turing_only) return;
    const int split = options.halves ? 2 : 1;
    add_mma_row(unit, 4, tf32, tf32, f32, 4, fraction_bits);
    add_mma_row(unit, 8, tf32, tf32, f32, 8 / split, fraction_bits);
    for (const Element d : {f16, f32}) add_mma_row(unit, 16, f16, f16, d, 16 / split, fraction_bits);
    add_mma_row(unit, 8, bf16, bf16, f32, 8, fraction_bits);
    add_mma_row(unit, 16, bf16, bf16, f32, 16 / split, fraction_bits);
  }

  template <class Add>
  static void for_fp8_pairs(const Add& add) {
    for (const Element d : {Element::f32, Element::f16}) {
      for (const Element a : {Element::e5m2, Element::e4m3}) {
        for (const Element b : {Element::e5m2, Element::e4m3}) add(a, b, d);
      }
    }
  }

  void add_ada_fp8() {
    for (const int k : {32, 16}) {
      for_fp8_pairs([&](Element a, Element b, Element d) { add_mma_row("ada", k, a, b, d, 16, 13); });
    }
  }

  /// sm_90 has no fp8 mma.sync of its own. ptxas (CUDA 13.0) unpacks to f16 first the two low, then the two
  /// high bytes of each register, one f16 instruction of half the K for each, chained from zero; C is added
  /// by FADD or HADD2.
  void add_hopper_fp8_mma() {
    for (const int k : {32, 16}) {
      for_fp8_pairs(
          [&](Element a, Element b, Element d) { add_mma_row("hopper", k, a, b, d, k, 25, Rule::two_f16); });
    }
  }

  void add_wgmma() {
    const auto row = [&](int k, Element a, Element b, Element d, int fraction_bits) {
      add_fused("hopper", fmt::format("wgmma.m64n8k{}.{}.{}.{}", k, info(d).name, info(a).name, info(b).name),
                64, 8, k, a, b, d, d, k, fraction_bits);
    };
    row(8, Element::tf32, Element::tf32, Element::f32, 25);
    for (const Element d : {Element::f16, Element::f32}) row(16, Element::f16, Element::f16, d, 25);
    row(16, Element::bf16, Element::bf16, Element::f32, 25);
    for_fp8_pairs([&](Element a, Element b, Element d) { row(32, a, b, d, 13); });
  }

  std::vector<Instruction> rows_;
};

/// Levenshtein's distance.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

std::string nearest_names(std::string_view wanted) {
  std::vector<std::pair<size_t, std::string>> names;
  for (const Instruction& row : instructions()) {
    names.emplace_back(distance(wanted, row.full_name()), row.full_name());
  }
  std::stable_sort(names.begin(), names.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  return fmt::format("{}, {} or {}", names[0].second, names[1].second, names[2].second);
}

}  // namespace

const ElementInfo& info(Element element) {
  static constexpr ElementInfo kInfo[] = {{"f32", 4, -126},    {"tf32", 4, -126},   {"f16", 2, -14},
                                          {"bf16", 2, -126},   {"e4m3", 1, -6},     {"e5m2", 1, -14},
                                          {"e4m3fnuz", 1, -7}, {"e5m2fnuz", 1, -15}};
  return kInfo[static_cast<size_t>(element)];
}

float to_f32(Element element, uint32_t bits) {
  switch (element) {
    case Element::f32: return std::bit_cast<float>(bits);
    case Element::tf32: return truncate_to_tf32(std::bit_cast<float>(bits));
    case Element::f16: return f16_to_f32(static_cast<uint16_t>(bits));
    case Element::bf16: return bf16_to_f32(static_cast<uint16_t>(bits));
    case Element::e4m3: return e4m3_to_f32(static_cast<uint8_t>(bits));
    case Element::e5m2: return e5m2_to_f32(static_cast<uint8_t>(bits));
    case Element::e4m3fnuz: return e4m3fnuz_to_f32(static_cast<uint8_t>(bits));
    case Element::e5m2fnuz: return e5m2fnuz_to_f32(static_cast<uint8_t>(bits));
  }
  return 0;
}

std::span<const Instruction> instructions() {
  static const Table table;
  return table.rows();
}

const Instruction& find_instruction(std::string_view full_name) {
  for (const Instruction& row : instructions()) {
    if (row.full_name() == full_name) return row;
  }
  fail_input("{}: no such matrix instruction; did you mean {}? `greta info --units` lists all", full_name,
             nearest_names(full_name));
}

std::string_view name(Evidence evidence) {
  switch (evidence) {
    case Evidence::hardware: return "hardware (H200)";
    case Evidence::published_model: return "published model";
    case Evidence::rule_only: return "published rule only";
  }
  return "?";
}

std::string describe_rule(const Instruction& row) {
  const std::string flush = row.flush ? ", subnormals flushed" : "";
  switch (row.rule) {
    case Rule::fma_chain: return "chain of f32 FMAs";
    case Rule::pairwise: return fmt::format("f32 FMA trees of {}{}", row.group, flush);
    case Rule::floored:
      return fmt::format("fused {}, F = {}; floored sum, f32 nearest", row.group, row.fraction_bits);
    case Rule::floored_fp8:
      return fmt::format("fused {} + {}, F = {}; floored sum, f32 nearest", row.group / 2, row.group / 2,
                         row.fraction_bits);
    case Rule::two_f16:
      return fmt::format("fused {0} + {0} as f16, F = {1}; then + c, nearest", row.group / 2,
                         row.fraction_bits);
    case Rule::fused: break;
  }
  const char* output = row.output == Output::f16_nearest     ? "f16 nearest"
                       : row.output == Output::f32_truncated ? "f32 truncated"
                                                             : "f32 truncated to 13 bits";
  return fmt::format("fused {} + c, F = {}; {}", row.group, row.fraction_bits, output);
}

}  // namespace greta::units
