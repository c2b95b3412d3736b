#pragma once
// gzip, written as a row of members of 1 MiB each: they are compressed beside each other, and every reader of
// gzip takes them as one file (RFC 1952, 2.2).

#include <cstddef>
#include <span>
#include <vector>

#include "io/output_file.h"

namespace greta {

/// Compresses (level 1) what is written and passes it to `file`. Equal data give equal bytes, whatever the
/// number of threads and the sizes of the writes. Machine Errors.
class GzipWriter {
 public:
  explicit GzipWriter(OutputFile& file);
  void write(std::span<const std::byte> data);
  /// Writes what is left; at least one member. Nothing may be written after it.
  void finish();

 private:
  void flush();

  OutputFile& file_;
  size_t batch_;  // bytes that are compressed at once
  std::vector<std::byte> data_;
  bool any_ = false;
};

}  // namespace greta
