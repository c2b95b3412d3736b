#pragma once
// GGUF v2/v3 reader over a memory map. No field of the file is used for arithmetic, allocation or indexing
// before it is checked against the file's size with overflow-checked arithmetic; a bad file is an input Error
// that names the file, the place and what was expected.

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/mapped_file.h"
#include "model/tensor_type.h"

namespace greta {

struct GgufArray;

/// A metadata value; integers of all widths are kept as 64 bits, floats as double.
using GgufValue = std::variant<uint64_t, int64_t, double, bool, std::string_view, GgufArray>;

/// An array of scalars or strings. Elements are decoded on demand: the file is the storage.
struct GgufArray {
  uint32_t element_type = 0;  // GGUF's value type id
  uint64_t count = 0;
  std::span<const std::byte> bytes;       // the elements as stored
  std::vector<std::string_view> strings;  // filled when the elements are strings
};

struct GgufTensor {
  std::string_view name;
  TensorType type = TensorType::f32;
  int n_dims = 0;
  // GGUF order: dims[0] is the contiguous one (K of a weight matrix); 1 beyond n_dims.
  std::array<uint64_t, 4> dims{1, 1, 1, 1};
  std::span<const std::byte> data;  // empty when GRETA does not know the type
};

class Gguf {
 public:
  /// Maps and checks the whole header; tensor data is not touched. Throws an input Error.
  static Gguf open(const std::string& path);
  /// The same on bytes in memory (tests, fuzzers);
  /// `label` stands for the path in messages. `bytes` must outlive it.
  static Gguf parse(std::span<const std::byte> bytes, std::string label);

  const std::string& path() const { return path_; }
  uint64_t file_size() const { return bytes_.size(); }
  uint32_t version() const { return version_; }
  std::span<const std::byte> bytes() const { return bytes_; }
  /// "part 2 of 3 of a split model", or empty for a whole file.
  std::string part() const;
  /// Gives back the memory that `part` of a mapped file takes; it can still be read.
  void forget(std::span<const std::byte> part) const noexcept { file_.forget(part); }
  const std::vector<std::pair<std::string_view, GgufValue>>& metadata() const { return metadata_; }
  const std::vector<GgufTensor>& tensors() const { return tensors_; }

  const GgufValue* find(std::string_view key) const;
  const GgufTensor* find_tensor(std::string_view name) const;

  // Typed look-ups: nullopt when the key is absent;
  // an input Error when it has another type or is out of range.
  std::optional<uint64_t> find_uint(std::string_view key, uint64_t max) const;
  std::optional<double> find_float(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  std::optional<std::string_view> find_string(std::string_view key) const;
  const GgufArray* find_strings(std::string_view key) const;
  std::optional<std::vector<int64_t>> find_ints(std::string_view key) const;
  std::optional<std::vector<double>> find_floats(std::string_view key) const;

 private:
  std::string path_;
  MappedFile file_;
  std::span<const std::byte> bytes_;
  uint32_t version_ = 0;
  std::vector<std::pair<std::string_view, GgufValue>> metadata_;
  std::vector<GgufTensor> tensors_;
  // Indices into the two lists, sorted by name.
  std::vector<uint32_t> key_order_;
  std::vector<uint32_t> tensor_order_;
};

/// Refuses a part of a split file: the others have the rest of what is asked.
void refuse_part(const Gguf& file);

}  // namespace greta
