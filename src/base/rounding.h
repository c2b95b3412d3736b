#pragma once
// The roundings that a kernel declares as part of its contract. The oracle applies those and only those.

#include <string_view>

namespace greta {

namespace units {
struct Instruction;
}

/// Number formats of activations, accumulators, outputs and the KV cache.
enum class Format {
  f32,
  f16,
  bf16,
  q8_block32,  // int8 with one f32 scale per 32 values: d = amax / 127, q = round-to-nearest-even(x / d)
  q8_0,        // the same with an f16 scale: d = amax / 127 rounded, q within +-127, 0 where d is 0
  i32,         // token ids
};

constexpr std::string_view name(Format format) {
  switch (format) {
    case Format::f32: return "f32";
    case Format::f16: return "f16";
    case Format::bf16: return "bf16";
    case Format::q8_block32: return "q8_block32";
    case Format::q8_0: return "q8_0";
    case Format::i32: return "i32";
  }
  return "?";
}

struct Roundings {
  Format activation = Format::f32;   // what inputs are rounded to before they are multiplied
  Format accumulator = Format::f32;  // each addition of the sum is rounded to this
  Format output = Format::f32;
  Format weight = Format::f32;               // what weights are rounded to, after they are decoded
  const units::Instruction* unit = nullptr;  // the matrix instruction that accumulates; null: plain additions
  int splits = 1;  // of K, each a chain of the unit's instruction; f32 additions join them in order
  bool operator==(const Roundings&) const = default;
};

}  // namespace greta
