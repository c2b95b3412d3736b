#pragma once
// What a model is read from, whatever its form: metadata in GGUF's words and types, tensors, and the files in
// which they lie. A reader fills it: gguf.h, checkpoint/checkpoint.h.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/mapped_file.h"
#include "model/tensor.h"

namespace greta {

struct GgufArray;
struct TokenizerJson;

/// A metadata value; integers of all widths are kept as 64 bits, floats as double.
using GgufValue = std::variant<uint64_t, int64_t, double, bool, std::string_view, GgufArray>;

/// An array of scalars or strings. Elements are decoded on demand: the file is the storage.
struct GgufArray {
  uint32_t element_type = 0;  // GGUF's value type id
  uint64_t count = 0;
  std::span<const std::byte> bytes;       // the elements as stored
  std::vector<std::string_view> strings;  // filled when the elements are strings
};

using Metadata = std::vector<std::pair<std::string_view, GgufValue>>;

/// A file that the model is read from, or bytes in memory.
struct FilePart {
  std::string name;  // in its folder
  std::span<const std::byte> bytes;
  MappedFile map = {};  // of `bytes`, or empty
};

class ModelFile {
 public:
  ModelFile() = default;
  /// `format` is said of the model in few words: "GGUF v3".
  ModelFile(std::string path, std::string format) : path_(std::move(path)), format_(std::move(format)) {}

  // For readers. Input Errors for a key or a name that comes twice.
  void set_metadata(Metadata metadata);
  void set_tensors(std::vector<Tensor> tensors);
  void add_part(FilePart part) { parts_.push_back(std::move(part)); }
  void keep(std::shared_ptr<const void> storage) { storage_ = std::move(storage); }  // what views point into
  void set_tokenizer(std::shared_ptr<const TokenizerJson> json) { tokenizer_ = std::move(json); }
  /// How the files name a tensor that has another name in GGUF.
  void set_names(std::function<std::string(std::string_view)> names) { names_ = std::move(names); }

  const std::string& path() const { return path_; }
  const std::string& format() const { return format_; }
  const std::vector<FilePart>& parts() const { return parts_; }
  uint64_t file_size() const;  // of all parts
  /// What the model is told by: "xxh3-128:" or "sha256:" and hex digits, of the file's bytes. Of several
  /// files the digest of the lines "DIGEST  NAME\n" in the order of their names, as sha256sum and xxh128sum
  /// print them.
  const std::string& xxh3() const;  // read once; not by two threads at a time
  std::string sha256() const;
  /// Gives back the memory that `part` of a mapped file takes; it can still be read.
  void forget(std::span<const std::byte> part) const noexcept;
  /// A tensor's name as the user knows it.
  std::string own_name(std::string_view tensor) const {
    return names_ ? names_(tensor) : std::string(tensor);
  }
  /// Of a checkpoint; nullptr where there is none.
  const TokenizerJson* tokenizer_json() const { return tokenizer_.get(); }
  const Metadata& metadata() const { return metadata_; }
  const std::vector<Tensor>& tensors() const { return tensors_; }

  const GgufValue* find(std::string_view key) const;
  const Tensor* find_tensor(std::string_view name) const;

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
  std::string path_, format_;
  std::vector<FilePart> parts_;
  std::shared_ptr<const void> storage_;
  std::shared_ptr<const TokenizerJson> tokenizer_;
  std::function<std::string(std::string_view)> names_;
  Metadata metadata_;
  std::vector<Tensor> tensors_;
  mutable std::string xxh3_;  // empty: not asked for yet
  // Indices into the two lists, sorted by name.
  std::vector<uint32_t> key_order_;
  std::vector<uint32_t> tensor_order_;
};

/// Reads what lies at `path`: a GGUF file or a checkpoint's directory. Throws an input Error.
ModelFile open_model_file(const std::string& path);

/// "part 2 of 3 of a split model", or empty for a whole one.
std::string part_of_split(const ModelFile& file);

/// Refuses a part of a split file: the others have the rest of what is asked.
void refuse_part(const ModelFile& file);

}  // namespace greta
