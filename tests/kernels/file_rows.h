#pragma once
// Random weights of every type, as a GGUF file stores them.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/half.h"
#include "model/tensor_type.h"

namespace greta::test {

/// The same numbers on every platform (splitmix64).
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  /// Uniform in [low, high).
  float uniform(float low, float high) {
    return low + (high - low) * static_cast<float>(bits() >> 40) * 0x1p-24f;
  }
  int64_t below(int64_t n) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(n)); }

 private:
  uint64_t state_;
};

/// Where a block of a file has its f16 scale and minimum, and sizes for them: d * s * u stays below 4, m * t
/// below 1, whatever the small scales are.
struct FileScales {
  int d;
  float d_size;
  int m = -1;
  float m_size = 0;
};

inline FileScales file_scales(TensorType type) {
  switch (type) {
    case TensorType::q8_0:
    case TensorType::iq4_nl: return {0, 0.01f};
    case TensorType::q4_1:
    case TensorType::q5_1: return {0, 0.1f, 2, 1};
    case TensorType::q2_k: return {80, 0.05f, 82, 1.0f / 16};
    case TensorType::q3_k: return {108, 0.02f};
    case TensorType::q4_k:
    case TensorType::q5_k: return {0, 0.1f / 64, 2, 1.0f / 64};
    case TensorType::q6_k: return {208, 0.1f / 128};
    case TensorType::iq4_xs: return {0, 0.01f / 32};
    default: return {0, 0.1f};
  }
}

/// A weight as a GGUF file stores it: n rows of k random values. `size` scales them (not those of mxfp4).
inline std::vector<std::byte> file_rows(TensorType type, int64_t n, int64_t k, uint64_t seed,
                                        float size = 1) {
  Random random(seed);
  const TensorTypeInfo& format = info(type);
  const FileScales scales = file_scales(type);
  std::vector<std::byte> bytes(static_cast<size_t>(n * k / format.block * format.bytes));
  for (std::byte& b : bytes) b = static_cast<std::byte>(random.bits() >> 56);
  for (size_t at = 0; at < bytes.size(); at += format.bytes) {
    const auto put16 = [&](int offset, uint16_t x) {
      std::memcpy(bytes.data() + at + static_cast<size_t>(offset), &x, 2);
    };
    const float value = random.uniform(-size, size);
    switch (type) {
      case TensorType::f32: std::memcpy(bytes.data() + at, &value, 4); break;
      case TensorType::f16: put16(0, f32_to_f16(value)); break;
      case TensorType::bf16: put16(0, f32_to_bf16(value)); break;
      case TensorType::mxfp4: bytes[at] = static_cast<std::byte>(118 + random.below(8)); break;
      default:
        put16(scales.d, f32_to_f16(value * scales.d_size));
        if (scales.m >= 0) put16(scales.m, f32_to_f16(random.uniform(-size, size) * scales.m_size));
    }
  }
  return bytes;
}

/// The next length at or above k that a row of this type can have.
inline int64_t row_length(TensorType type, int64_t k) {
  const int64_t block = info(type).block;
  return (k + block - 1) / block * block;
}

}  // namespace greta::test
