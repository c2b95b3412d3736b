#pragma once
// The block formats of GGUF, one decoder each, in f64. A block's values are
// `code[i] * scale[i / 16] + offset[i / 16]`: whole numbers, scales, and the minima that some formats have.
// All three are exact in f64, and so is code * scale. Plain floats are their own codes. Internal to this
// room: dequant.h is the door, and the oracle of quantised products needs the parts.

#include <cstddef>
#include <cstdint>

#include "model/tensor_type.h"

namespace greta {

inline constexpr int64_t kScaleGroup = 16;  // no format has a finer scale or offset

/// Where parts go: code[elements], scale[elements / 16], offset[elements / 16].
struct Parts {
  double* code;
  double* scale;   // may be null for plain floats
  double* offset;  // may be null unless has_offset
};

struct BlockCodec {
  TensorType type;
  /// Decodes consecutive blocks.
  void (*decode)(const uint8_t* bytes, int64_t blocks, const Parts& to);
  bool has_offset;      // the format has minima, so a weight takes one rounding to become an f32
  int64_t scale_group;  // elements that share one scale (16 or 32); 0 for plain floats
};

/// The decoder of a type, or nullptr for types that have none (q8_1 and q8_k are activation formats).
const BlockCodec* find_block_codec(TensorType type);

}  // namespace greta
