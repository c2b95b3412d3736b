#pragma once
// Memory for SIMD: 64-byte aligned, uninitialised until written.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace greta {

class AlignedBytes {
 public:
  AlignedBytes() = default;
  explicit AlignedBytes(int64_t size)
      : data_(size == 0 ? nullptr : static_cast<std::byte*>(std::aligned_alloc(64, round_up(size)))),
        size_(size) {
    if (size != 0 && !data_) throw std::bad_alloc();
  }

  std::byte* data() { return data_.get(); }
  const std::byte* data() const { return data_.get(); }
  int64_t size() const { return size_; }

 private:
  static size_t round_up(int64_t size) { return (static_cast<size_t>(size) + 63) / 64 * 64; }
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  std::unique_ptr<std::byte[], Free> data_;
  int64_t size_ = 0;
};

}  // namespace greta
