#pragma once
// A file being written. Every failure is an Error that names the file and the system's reason.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"

namespace greta {

class OutputFile {
 public:
  /// Creates or empties `path`. When the path itself is to blame (no such directory, no permission, ...) the
  /// Error is of kind `refused`; all else (disk full, ...) is the machine's.
  explicit OutputFile(const std::string& path, ErrorKind refused = ErrorKind::machine);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  /// Hands the bytes to the system at once.
  /// What can't be written whole is taken back, as far as the system lets us.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  /// Some systems report a full disk only here.
  void close();

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_ = -1;
  int64_t size_ = 0;
};

/// Writes `path` under a temporary name (`path`.tmp), then renames it:
/// readers see the old file or the new one.
void replace_file(const std::string& path, const std::function<void(OutputFile&)>& write,
                  ErrorKind refused = ErrorKind::machine);
void replace_file(const std::string& path, std::string_view text, ErrorKind refused = ErrorKind::machine);

/// `refused` when the errno blames the path, machine otherwise.
ErrorKind kind_of_errno(int error, ErrorKind refused);

/// Makes a directory for output, with its parents. True if it was there before, which needs `force`. Input
/// Errors: it is there without `force`, it is something else, it cannot be made.
bool make_directory(const std::filesystem::path& directory, bool force);

}  // namespace greta
