#pragma once
// XXH3-128: equal tensors are seen as equal without keeping their data.

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace greta {

struct Hash128 {
  uint64_t high = 0;
  uint64_t low = 0;
  auto operator<=>(const Hash128&) const = default;
  /// 32 lower-case hex digits in XXH's canonical (big-endian) order.
  std::string hex() const;
};

Hash128 hash_bytes(std::span<const std::byte> bytes);

/// What a file is told by: "xxh3-128:" and the hex digits.
inline std::string named_hash(std::span<const std::byte> bytes) {
  return "xxh3-128:" + hash_bytes(bytes).hex();
}

/// SHA-256 as 64 lower-case hex digits: what other engines name files by.
std::string sha256_hex(std::span<const std::byte> bytes);

inline Hash128 hash_floats(std::span<const float> values) { return hash_bytes(std::as_bytes(values)); }

}  // namespace greta
