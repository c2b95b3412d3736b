#pragma once
// The safetensors format: u64 header length, a JSON header, the data.
// Written by us in F32; read in any common dtype.

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/output_file.h"

namespace greta {

/// Product of the extents; empty when it overflows 63 bits or an extent is negative.
std::optional<int64_t> element_count(std::span<const int64_t> shape);

/// A tensor inside a file's bytes, little-endian and not aligned.
struct TensorView {
  std::string dtype;  // "F32", "BF16", ...
  std::vector<int64_t> shape;
  int64_t count = 0;
  std::span<const std::byte> bytes;
};

/// Tensors by name. The views point into `file`. Input Errors, beginning with `where`: a header that does not
/// fit the file, no JSON, a name twice, an unknown dtype, a shape that doesn't fit its bytes, bytes outside
/// the file or shared by two tensors.
std::map<std::string, TensorView> parse_safetensors(std::span<const std::byte> file,
                                                    const std::string& where);

/// The values as f32: exact for F32, F16, BF16, F8_E4M3, F8_E8M0, U8, I8, U16, I16, BOOL; rounded to nearest
/// for F64, U32, I32, I64.
std::vector<float> to_floats(const TensorView& tensor);

struct NamedTensor {
  std::string name;
  std::vector<int64_t> shape;
  std::span<const float> data;  // the caller's
};

/// Writes F32 tensors, the data 8-byte aligned. Names must differ.
void write_safetensors(OutputFile& file, std::span<const NamedTensor> tensors);

/// A tensor of any dtype, as its bytes.
struct NamedBytes {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> data;
};

/// As above. `data` must have the size that dtype and shape say.
void write_safetensors(OutputFile& file, std::span<const NamedBytes> tensors);

}  // namespace greta
