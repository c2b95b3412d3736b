#pragma once
// The block formats of GGUF, one decoder each, in f64. A block's values are `scaled[i] + offset[i / 16]`:
// scaled is scale * integer, offset the block's minimum. Both are exact in f64. Internal to this room:
// dequant.h is the door, and the oracle of quantised products needs the two parts apart.

#include <cstddef>
#include <cstdint>

#include "model/tensor_type.h"

namespace greta {

inline constexpr int64_t kOffsetGroup = 16;  // no format has a finer offset

struct BlockCodec {
  TensorType type;
  /// Decodes consecutive blocks: scaled[elements], offset[elements / 16];
  /// offset may be null unless has_offset.
  void (*decode)(const uint8_t* bytes, int64_t blocks, double* scaled, double* offset);
  bool has_offset;      // the format has minima, so a weight takes one rounding to become an f32
  int64_t scale_group;  // elements that share one scale (16 or 32); 0 for plain floats
};

/// The decoder of a type, or nullptr for types that have none (q8_1 and q8_k are activation formats).
const BlockCodec* find_block_codec(TensorType type);

}  // namespace greta
