#include "model/tensor_type.h"

#include <fmt/format.h>

#include <array>

#include "base/error.h"

namespace greta {
namespace {

constexpr std::array<TensorTypeInfo, 18> kTypes{{
    {TensorType::f32, "f32", 1, 4},
    {TensorType::f16, "f16", 1, 2},
    {TensorType::q4_0, "q4_0", 32, 18},
    {TensorType::q4_1, "q4_1", 32, 20},
    {TensorType::q5_0, "q5_0", 32, 22},
    {TensorType::q5_1, "q5_1", 32, 24},
    {TensorType::q8_0, "q8_0", 32, 34},
    {TensorType::q8_1, "q8_1", 32, 36},
    {TensorType::q2_k, "q2_k", 256, 84},
    {TensorType::q3_k, "q3_k", 256, 110},
    {TensorType::q4_k, "q4_k", 256, 144},
    {TensorType::q5_k, "q5_k", 256, 176},
    {TensorType::q6_k, "q6_k", 256, 210},
    {TensorType::q8_k, "q8_k", 256, 292},
    {TensorType::iq4_nl, "iq4_nl", 32, 18},
    {TensorType::iq4_xs, "iq4_xs", 256, 136},
    {TensorType::bf16, "bf16", 1, 2},
    {TensorType::mxfp4, "mxfp4", 32, 17},
}};

}  // namespace

const TensorTypeInfo* find_tensor_type(uint32_t id) {
  for (const TensorTypeInfo& entry : kTypes) {
    if (static_cast<uint32_t>(entry.type) == id) return &entry;
  }
  return nullptr;
}

const TensorTypeInfo& info(TensorType type) {
  const TensorTypeInfo* entry = find_tensor_type(static_cast<uint32_t>(type));
  if (entry == nullptr) fail_machine("tensor type {} is not in the table", static_cast<uint32_t>(type));
  return *entry;
}

std::string label(TensorType type) {
  const auto id = static_cast<uint32_t>(type);
  const TensorTypeInfo* entry = find_tensor_type(id);
  return entry != nullptr ? std::string(entry->name) : fmt::format("type {}", id);
}

bool has_blocks(TensorType type) {
  using enum TensorType;
  return type == q4_0 || type == q4_1 || type == q5_0 || type == q5_1 || type == q8_0;
}

}  // namespace greta
