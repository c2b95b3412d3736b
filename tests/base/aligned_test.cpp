#include "base/aligned.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <utility>

namespace greta {
namespace {

TEST(AlignedBytes, BeginAtACacheLineOrALargePage) {
  for (const int64_t size : {1, 100, 5 << 20}) {
    AlignedBytes bytes(size);
    EXPECT_EQ(bytes.size(), size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes.data()) % (size < 2 << 20 ? 64 : 2 << 20), 0U) << size;
    std::memset(bytes.data(), 1, static_cast<size_t>(size));
  }
  EXPECT_EQ(AlignedBytes(0).data(), nullptr);
}

// The sanitizer sees it if the memory went with its first owner.
TEST(AlignedBytes, SlicesOutliveTheWhole) {
  AlignedBytes second;
  {
    AlignedBytes whole(256);
    std::memset(whole.data(), 7, 256);
    second = whole.slice(128, 64);
    EXPECT_EQ(second.data(), whole.data() + 128);
  }
  const AlignedBytes moved = std::move(second);
  EXPECT_EQ(moved.size(), 64);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(moved.data()[i], std::byte{7});
}

}  // namespace
}  // namespace greta
