#include "base/hash.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <vector>

namespace greta {
namespace {

// The value that the xxHash project states for XXH3_128bits of nothing, seed 0. Other engines write these
// hashes into bundles: algorithm, seed and digit order are part of the format.
TEST(Hash, OfNothingIsThePublishedValue) {
  EXPECT_EQ(hash_bytes({}).hex(), "99aa06d3014798d86001c324468d497f");
}

TEST(Hash, HexIsHighThenLowWithLeadingZeros) {
  EXPECT_EQ((Hash128{0x1, 0xab}).hex(), "000000000000000100000000000000ab");
}

TEST(Hash, DependsOnEveryByteAndOnTheLength) {
  // Lengths around the branches of XXH3 (16, 128, 240, 1024).
  for (const size_t size : {1, 3, 8, 16, 17, 128, 129, 240, 241, 1024, 1025}) {
    std::vector<std::byte> bytes(size, std::byte{7});
    const Hash128 original = hash_bytes(bytes);
    for (size_t i = 0; i < size; ++i) {
      bytes[i] ^= std::byte{1};
      EXPECT_NE(hash_bytes(bytes), original) << "byte " << i << " of " << size;
      bytes[i] ^= std::byte{1};
    }
    EXPECT_EQ(hash_bytes(bytes), original);
    bytes.push_back(std::byte{0});
    EXPECT_NE(hash_bytes(bytes), original) << "a byte after " << size;
  }
}

TEST(Hash, FloatsAreHashedAsBits) {
  const std::array<float, 1> zero{0.0F}, minus_zero{-0.0F}, nan{std::numeric_limits<float>::quiet_NaN()};
  EXPECT_NE(hash_floats(zero), hash_floats(minus_zero));
  EXPECT_EQ(hash_floats(nan), hash_floats(nan));
  EXPECT_EQ(hash_floats(zero), hash_bytes(std::array<std::byte, 4>{}));
}

}  // namespace
}  // namespace greta
