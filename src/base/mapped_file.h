#pragma once
// A read-only memory map of a regular file.

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace greta {

class MappedFile {
 public:
  MappedFile() = default;
  /// Throws an input Error: missing, a directory, not a regular file,
  /// empty, unreadable (with the system's reason).
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return bytes_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }

  /// Gives the memory of the whole pages in `part` back: they are read again when they are touched. Does
  /// nothing for memory that is not of this file.
  void forget(std::span<const std::byte> part) const noexcept;

 private:
  std::span<const std::byte> bytes_;
};

/// A mapped file that shrinks while it is read (truncated or replaced in place) ends the program by SIGBUS.
/// This installs a handler that writes one clear line to stderr and exits with code 2; call it once, early.
void install_sigbus_message();

}  // namespace greta
