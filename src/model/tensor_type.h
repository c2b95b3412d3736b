#pragma once
// Weight types of GGUF files: ids, names, block sizes. (Layouts: numerics/dequant.h decodes them for the
// oracle, kernels/pack.h for the kernels; the two share no code on purpose.)

#include <cstdint>
#include <string>
#include <string_view>

namespace greta {

/// Values are GGUF's type ids.
enum class TensorType : uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q8_1 = 9,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  q8_k = 15,
  iq4_nl = 20,
  iq4_xs = 23,
  bf16 = 30,
  mxfp4 = 39,
};

struct TensorTypeInfo {
  TensorType type;
  std::string_view name;  // lower case, as in kernel names
  uint32_t block;         // elements per block along K
  uint32_t bytes;         // bytes per block
};

/// The entry of a GGUF type id, or nullptr for an id that GRETA does not know.
const TensorTypeInfo* find_tensor_type(uint32_t id);

/// The entry of a known type.
const TensorTypeInfo& info(TensorType type);

/// True for the types whose blocks are 32 codes with one scale, and a minimum or none: Q4_0, Q4_1, Q5_0,
/// Q5_1, Q8_0.
bool has_blocks(TensorType type);

inline std::string_view name(TensorType type) { return info(type).name; }

/// The same for any type that a file may hold: "type 40" for an id that GRETA does not know.
std::string label(TensorType type);

}  // namespace greta
