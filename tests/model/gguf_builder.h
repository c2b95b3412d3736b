#pragma once
// Writes GGUF bytes for tests: a valid file by default, and any field of it wrong on demand.

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace greta::test {

using Bytes = std::string;

/// The bytes of a trivially copyable value, little endian as the machine.
template <class T>
Bytes raw(T value) {
  static_assert(std::is_arithmetic_v<T>);
  Bytes bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

/// A GGUF string: 64-bit length, then the text. `length` overrides what the file claims.
inline Bytes raw_string(std::string_view text, std::optional<uint64_t> length = {}) {
  return raw<uint64_t>(length.value_or(text.size())) + Bytes(text);
}

template <class T>
constexpr uint32_t gguf_type_of() {
  if constexpr (std::is_same_v<T, uint8_t>) return 0;
  if constexpr (std::is_same_v<T, int8_t>) return 1;
  if constexpr (std::is_same_v<T, uint16_t>) return 2;
  if constexpr (std::is_same_v<T, int16_t>) return 3;
  if constexpr (std::is_same_v<T, uint32_t>) return 4;
  if constexpr (std::is_same_v<T, int32_t>) return 5;
  if constexpr (std::is_same_v<T, float>) return 6;
  if constexpr (std::is_same_v<T, bool>) return 7;
  if constexpr (std::is_same_v<T, uint64_t>) return 10;
  if constexpr (std::is_same_v<T, int64_t>) return 11;
  if constexpr (std::is_same_v<T, double>) return 12;
}

inline constexpr uint32_t kGgufString = 8;
inline constexpr uint32_t kGgufArray = 9;

struct TensorEntry {
  std::string name;
  std::vector<uint64_t> dims;
  uint32_t type = 0;  // f32
  Bytes data;
  std::optional<uint32_t> n_dims;  // what the file claims, where it differs
  std::optional<uint64_t> offset;
};

class GgufBuilder {
 public:
  Bytes magic = "GGUF";
  uint32_t version = 3;
  uint64_t alignment = 32;  // of the data as written; the metadata key is set separately
  std::optional<uint64_t> claimed_tensors;
  std::optional<uint64_t> claimed_entries;
  std::vector<TensorEntry> tensors;

  /// Sets (or replaces) a scalar.
  template <class T>
  GgufBuilder& set(std::string_view key, T value) {
    return set_raw(key, gguf_type_of<T>(), raw(value));
  }
  GgufBuilder& set_string(std::string_view key, std::string_view text) {
    return set_raw(key, kGgufString, raw_string(text));
  }
  template <class T>
  GgufBuilder& set_array(std::string_view key, const std::vector<T>& values) {
    Bytes bytes = raw(gguf_type_of<T>()) + raw<uint64_t>(values.size());
    for (const T value : values) bytes += raw(value);
    return set_raw(key, kGgufArray, bytes);
  }
  GgufBuilder& set_strings(std::string_view key, const std::vector<std::string>& texts) {
    Bytes bytes = raw(kGgufString) + raw<uint64_t>(texts.size());
    for (const std::string& text : texts) bytes += raw_string(text);
    return set_raw(key, kGgufArray, bytes);
  }
  /// A value of any type id with any bytes.
  GgufBuilder& set_raw(std::string_view key, uint32_t type, Bytes value) {
    erase(key);
    return add_raw(key, type, std::move(value));
  }
  /// The same without replacing: keys may then come twice.
  GgufBuilder& add_raw(std::string_view key, uint32_t type, Bytes value) {
    entries_.push_back({std::string(key), type, std::move(value)});
    return *this;
  }
  GgufBuilder& erase(std::string_view key) {
    std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; });
    return *this;
  }

  /// An f32 tensor with recognisable data: 0, 1, 2, ...
  GgufBuilder& add_f32(std::string_view name, const std::vector<uint64_t>& dims) {
    uint64_t elements = 1;
    for (const uint64_t dim : dims) elements *= dim;
    Bytes data;
    for (uint64_t i = 0; i < elements; ++i) data += raw(static_cast<float>(i));
    tensors.push_back({std::string(name), dims, 0, data, {}, {}});
    return *this;
  }
  TensorEntry& tensor(std::string_view name) {
    return *std::find_if(tensors.begin(), tensors.end(),
                         [&](const TensorEntry& t) { return t.name == name; });
  }
  GgufBuilder& erase_tensor(std::string_view name) {
    std::erase_if(tensors, [&](const TensorEntry& t) { return t.name == name; });
    return *this;
  }

  /// The header, up to the end of the tensor entries.
  Bytes header() const {
    Bytes file = magic + raw(version) + raw<uint64_t>(claimed_tensors.value_or(tensors.size())) +
                 raw<uint64_t>(claimed_entries.value_or(entries_.size()));
    for (const Entry& entry : entries_) file += raw_string(entry.key) + raw(entry.type) + entry.value;
    uint64_t offset = 0;
    for (const TensorEntry& t : tensors) {
      file += raw_string(t.name) + raw<uint32_t>(t.n_dims.value_or(static_cast<uint32_t>(t.dims.size())));
      for (const uint64_t dim : t.dims) file += raw(dim);
      file += raw(t.type) + raw<uint64_t>(t.offset.value_or(offset));
      offset += padded(t.data.size());
    }
    return file;
  }

  Bytes build() const {
    Bytes file = header();
    if (!tensors.empty()) file.resize(padded(file.size()), '\0');
    for (const TensorEntry& t : tensors) {
      file += t.data;
      if (&t != &tensors.back()) file.resize(file.size() + padded(t.data.size()) - t.data.size(), '\0');
    }
    return file;
  }

 private:
  struct Entry {
    std::string key;
    uint32_t type;
    Bytes value;
  };
  uint64_t padded(uint64_t size) const { return (size + alignment - 1) / alignment * alignment; }

  std::vector<Entry> entries_;
};

/// A whole model of the llama family in f32: 2 layers, n_embd 8, n_ff 12, 4 heads of 2 dims, 2 KV heads, 6
/// tokens, its own output matrix.
inline GgufBuilder tiny_llama() {
  GgufBuilder file;
  file.set_string("general.architecture", "llama")
      .set_string("general.name", "tiny")
      .set<uint32_t>("llama.block_count", 2)
      .set<uint32_t>("llama.context_length", 64)
      .set<uint32_t>("llama.embedding_length", 8)
      .set<uint32_t>("llama.feed_forward_length", 12)
      .set<uint32_t>("llama.attention.head_count", 4)
      .set<uint32_t>("llama.attention.head_count_kv", 2)
      .set<float>("llama.attention.layer_norm_rms_epsilon", 1e-5f)
      .set<float>("llama.rope.freq_base", 500.0f)
      .set<uint32_t>("llama.rope.dimension_count", 2)
      .set<uint32_t>("llama.vocab_size", 6)
      .set_strings("tokenizer.ggml.tokens", {"<s>", "a", "b", "c", "d", "</s>"});
  file.add_f32("token_embd.weight", {8, 6})
      .add_f32("output_norm.weight", {8})
      .add_f32("output.weight", {8, 6});
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    file.add_f32(layer + "attn_norm.weight", {8})
        .add_f32(layer + "attn_q.weight", {8, 8})
        .add_f32(layer + "attn_k.weight", {8, 4})
        .add_f32(layer + "attn_v.weight", {8, 4})
        .add_f32(layer + "attn_output.weight", {8, 8})
        .add_f32(layer + "ffn_norm.weight", {8})
        .add_f32(layer + "ffn_gate.weight", {8, 12})
        .add_f32(layer + "ffn_up.weight", {8, 12})
        .add_f32(layer + "ffn_down.weight", {12, 8});
  }
  return file;
}

}  // namespace greta::test
