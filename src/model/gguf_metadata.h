#pragma once
// The metadata section of a GGUF header: keys and typed values.

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "model/gguf_cursor.h"
#include "model/model_file.h"

namespace greta {

/// GGUF's value type ids.
enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

/// "u32", "string", ...; "?" for an id that is not one of GGUF's.
std::string_view name(GgufType type);

/// Bytes of a scalar of the type; 0 for strings, arrays and unknown ids.
uint64_t scalar_size(GgufType type);

/// What a value is, for messages: "a string", "an array", ...
std::string_view kind(const GgufValue& value);

/// Decodes a stored scalar. `bytes` has exactly scalar_size(type) of them; a bool is nonzero for true.
GgufValue decode_scalar(GgufType type, std::span<const std::byte> bytes);

/// Reads `count` entries. Throws an input Error for empty keys, keys with NUL, unknown types, nested arrays
/// and lengths beyond the file.
std::vector<std::pair<std::string_view, GgufValue>> read_metadata(GgufCursor& cursor, uint64_t count);

}  // namespace greta
