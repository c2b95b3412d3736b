#pragma once
// Reads fields off a GGUF header. Every step is checked against the bytes that remain, and an error says
// which entry of the file was being read and where.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace greta {

static_assert(std::endian::native == std::endian::little,
              "GGUF fields are read as the machine's own integers");

/// Text from a file, made fit for one line of a message: printable(), and cut where it is long.
std::string excerpt(std::string_view text);

class GgufCursor {
 public:
  GgufCursor(std::span<const std::byte> bytes, std::string_view label) : bytes_(bytes), label_(label) {}

  /// What is being read, for messages: "metadata entry 3", then its name once that is known.
  void enter(std::string_view section, uint64_t index) { section_ = section, index_ = index, name_ = {}; }
  void set_name(std::string_view name) { name_ = name; }
  void leave() { section_ = {}, name_ = {}; }

  uint64_t offset() const { return offset_; }
  uint64_t remaining() const { return bytes_.size() - offset_; }

  /// The next `size` bytes.
  std::span<const std::byte> take(uint64_t size, std::string_view what);

  /// The next integer or float, at any alignment.
  template <class T>
  T read(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }

  /// A 64-bit length and that many bytes.
  std::string_view read_string(std::string_view what);

  /// Checks that `count` elements of at least `min_bytes` each can still follow.
  void check_count(uint64_t count, uint64_t min_bytes, std::string_view what) const;

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    fail_input("{}: {}: {}", label_, place(), fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  std::string place() const;

  std::span<const std::byte> bytes_;
  std::string_view label_;
  uint64_t offset_ = 0;
  std::string_view section_;
  uint64_t index_ = 0;
  std::string_view name_;
};

}  // namespace greta
