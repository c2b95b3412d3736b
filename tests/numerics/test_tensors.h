#pragma once
// Small weights for the tests of this room: bytes that own themselves, random blocks, random activations.

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "base/half.h"
#include "model/gguf.h"

namespace greta::test {

/// A tensor and its bytes.
struct Weight {
  std::vector<std::byte> bytes;
  Tensor tensor;
};

inline Weight make_weight(TensorType type, int64_t k, int64_t n, std::vector<std::byte> bytes) {
  Weight weight{std::move(bytes), {}};
  weight.tensor.name = "w";
  weight.tensor.type = type;
  weight.tensor.n_dims = 2;
  weight.tensor.dims = {static_cast<uint64_t>(k), static_cast<uint64_t>(n), 1, 1};
  weight.tensor.data = weight.bytes;  // a vector keeps its storage when it is moved
  return weight;
}

inline Weight f32_weight(const std::vector<float>& values, int64_t k) {
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return make_weight(TensorType::f32, k, static_cast<int64_t>(values.size()) / k, std::move(bytes));
}

class RandomTensors {
 public:
  explicit RandomTensors(uint64_t seed) : engine_(seed) {}

  double uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }
  float normal() {  // Box and Muller: the same numbers with every standard library
    const double radius = std::sqrt(-2 * std::log(1 - uniform()));
    return static_cast<float>(radius * std::cos(6.283185307179586 * uniform()));
  }
  std::vector<float> normals(int64_t count, float scale = 1) {
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) value = scale * normal();
    return values;
  }
  int64_t below(int64_t limit) { return static_cast<int64_t>(uniform() * static_cast<double>(limit)); }

  /// Random blocks of a format whose f16 scales stand at the given byte offsets;
  /// scales as real models have them.
  Weight weight(TensorType type, int64_t k, int64_t n, std::vector<size_t> halves) {
    const TensorTypeInfo& layout = info(type);
    std::vector<std::byte> bytes(static_cast<size_t>(k * n / layout.block * layout.bytes));
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(engine_() & 255);
    for (size_t begin = 0; begin < bytes.size(); begin += layout.bytes) {
      for (const size_t at : halves) {
        const uint16_t half = f32_to_f16(0.01f * normal());
        std::memcpy(bytes.data() + begin + at, &half, sizeof half);
      }
    }
    return make_weight(type, k, n, std::move(bytes));
  }
  Weight float_weight(TensorType type, int64_t k, int64_t n) {
    const std::vector<float> values = normals(k * n, 0.05f);
    if (type == TensorType::f32) return f32_weight(values, k);
    std::vector<std::byte> bytes(values.size() * 2);
    for (size_t i = 0; i < values.size(); ++i) {
      const uint16_t bits = type == TensorType::f16 ? f32_to_f16(values[i]) : f32_to_bf16(values[i]);
      std::memcpy(bytes.data() + 2 * i, &bits, sizeof bits);
    }
    return make_weight(type, k, n, std::move(bytes));
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace greta::test
