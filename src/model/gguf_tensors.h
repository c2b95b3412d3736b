#pragma once
// The tensor section of a GGUF header: names, shapes, types and where the data lies.

#include <cstdint>
#include <vector>

#include "model/gguf_cursor.h"
#include "model/model_file.h"

namespace greta {

/// Reads `count` tensor entries; their data are spans of `file`. `alignment` is a checked multiple of 8.
/// A tensor of a type that GRETA does not know has no data. Throws an input Error for shapes whose size does
/// not fit in 63 bits, and for data outside the file, unaligned or shared by two tensors.
std::vector<Tensor> read_tensors(GgufCursor& cursor, uint64_t count, uint64_t alignment,
                                 std::span<const std::byte> file);

}  // namespace greta
