#pragma once
// The roundings that a kernel declares as part of its contract. The oracle applies those and only those.

#include <array>
#include <optional>
#include <string_view>

namespace greta {

namespace units {
struct Instruction;
}

/// Number formats of activations, accumulators, outputs and the KV cache.
enum class Format {
  f32,
  f64,
  f16,
  bf16,
  q8_block32,   // int8 with one f32 scale per 32 values: d = amax / 127, q = round-to-nearest-even(x / d)
  q8_0,         // ggml's: the same codes, but d is rounded to f16 after they are made
  q8_0_stored,  // d rounded to f16 first: q by the scale as it is stored, within +-127, 0 where d is 0
  q8_1,         // ggml's on a CPU: as q8_0; a weight's minimum is multiplied by f16(d sum q), d not rounded
  q8_1_sum,     // ggml's on CUDA and HIP: as q8_0; the minimum by f16(sum x)
  q8_k,         // ggml's: 256 values, d = -(x of the largest magnitude) / 127 in f32, q at most 127
  i32,          // token ids
};

/// A row per format: its name.
inline constexpr std::array<std::string_view, 11> kFormatNames = {
    "f32", "f64", "f16", "bf16", "q8_block32", "q8_0", "q8_0_stored", "q8_1", "q8_1_sum", "q8_k", "i32"};

constexpr std::string_view name(Format format) { return kFormatNames[static_cast<size_t>(format)]; }

constexpr std::optional<Format> format_from_name(std::string_view text) {
  for (size_t i = 0; i < kFormatNames.size(); ++i) {
    if (kFormatNames[i] == text) return static_cast<Format>(i);
  }
  return std::nullopt;
}

/// Integers with a scale per block.
constexpr bool is_block(Format format) { return format >= Format::q8_block32 && format <= Format::q8_k; }

struct Roundings {
  Format activation = Format::f32;   // what inputs are rounded to before they are multiplied
  Format accumulator = Format::f32;  // each addition of the sum is rounded to this
  Format output = Format::f32;
  Format weight = Format::f32;               // what weights are rounded to, after they are decoded
  const units::Instruction* unit = nullptr;  // the matrix instruction that accumulates; null: plain additions
  int splits = 1;  // of K, each a chain of the unit's instruction; f32 additions join them in order
  int slice = 0;   // or K in chains of so many k, each from zero, added in order to the bias; 0: in `splits`
  Format between = Format::f32;  // results between the parts of an op; of a product of blocks: its scales'
  Format unnormalised = Format::f32;  // attention's weights, before they are divided by their sum
  Format scores = Format::f32;        // attention's scores and weights, where the mix alone is recorded
  bool fast_math = false;             // CUDA's fast exponential, sine, cosine and division
  // Inputs, of the cache the keys and the values, are turned by a Walsh-Hadamard matrix of so many rows
  // before they are rounded (llama.cpp does it where a cache is quantised); 0: they are not.
  int rotation = 0, rotation_of_values = 0;
  bool operator==(const Roundings&) const = default;
};

}  // namespace greta
