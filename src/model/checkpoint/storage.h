#pragma once
// What a checkpoint's metadata and tensors say in GGUF's words, and the memory that they point into.

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "model/model_file.h"

namespace greta {

/// Owns what has no place in a file as GGUF has it.
class Storage {
 public:
  std::string_view keep(std::string text) { return texts_.emplace_back(std::move(text)); }
  std::span<const std::byte> keep(std::vector<std::byte> bytes) {
    return blocks_.emplace_back(std::move(bytes));
  }

 private:
  std::deque<std::string> texts_;
  std::deque<std::vector<std::byte>> blocks_;
};

/// Metadata as they are found.
class MetadataBuilder {
 public:
  explicit MetadataBuilder(Storage& storage) : storage_(storage) {}

  void set(std::string key, GgufValue value) { entries_.emplace_back(storage_.keep(std::move(key)), value); }
  void set_text(std::string key, std::string text) { set(std::move(key), storage_.keep(std::move(text))); }
  void set_texts(std::string key, std::vector<std::string> texts);
  void set_flags(std::string key, const std::vector<bool>& flags);
  void set_numbers(std::string key, const std::vector<int32_t>& numbers);

  Metadata take() { return std::move(entries_); }

 private:
  Storage& storage_;
  Metadata entries_;
};

}  // namespace greta
