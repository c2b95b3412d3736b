#include "sim/evaluate.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace greta::sim {
namespace {

void check_size(const units::Instruction& instruction, const char* name, std::span<const std::byte> bytes,
                int rows, int cols, units::Element element) {
  const auto wanted = static_cast<size_t>(rows * cols * info(element).bytes);
  if (bytes.size() != wanted) {
    fail_machine("{}: {} has {} bytes, not {}", instruction.full_name(), name, bytes.size(), wanted);
  }
}

/// Columns `first`.. of B, k x 16; what is beyond the last is zero.
std::vector<std::byte> columns_of_b(const units::Instruction& instruction, std::span<const std::byte> bt,
                                    int first) {
  const auto bytes = static_cast<size_t>(info(instruction.b).bytes);
  const auto k = static_cast<size_t>(instruction.k);
  const auto count = static_cast<size_t>(std::min(kColumns, instruction.n - first));
  std::vector<std::byte> panel(k * kColumns * bytes);
  for (size_t j = 0; j < count; ++j) {
    const std::byte* row = bt.data() + (static_cast<size_t>(first) + j) * k * bytes;
    for (size_t i = 0; i < k; ++i)
      std::memcpy(panel.data() + (i * kColumns + j) * bytes, row + i * bytes, bytes);
  }
  return panel;
}

float load(units::Element element, std::span<const std::byte> bytes, size_t index) {
  uint32_t bits = 0;
  const auto size = static_cast<size_t>(info(element).bytes);
  std::memcpy(&bits, bytes.data() + index * size, size);
  return to_f32(element, bits);
}

void store(units::Element element, std::vector<std::byte>& bytes, size_t index, float value) {
  if (element == units::Element::f32) {
    std::memcpy(bytes.data() + index * 4, &value, 4);
  } else {
    const uint16_t half = f32_to_f16(value);
    std::memcpy(bytes.data() + index * 2, &half, 2);
  }
}

}  // namespace

std::vector<std::byte> evaluate(const units::Instruction& instruction, Form form,
                                std::span<const std::byte> a, std::span<const std::byte> bt,
                                std::span<const std::byte> c) {
  const int m = instruction.m, n = instruction.n, k = instruction.k;
  check_size(instruction, "A", a, m, k, instruction.a);
  check_size(instruction, "Bt", bt, n, k, instruction.b);
  check_size(instruction, "C", c, m, n, instruction.c);
  std::vector<std::byte> d(static_cast<size_t>(m * n * info(instruction.d).bytes));
  Operand rows, columns;
  rows.assign(instruction, instruction.a, a.data(), static_cast<int64_t>(m) * k, form);
  std::vector<float> acc(static_cast<size_t>(m) * kColumns);
  for (int first = 0; first < n; first += kColumns) {
    const std::vector<std::byte> panel = columns_of_b(instruction, bt, first);
    columns.assign(instruction, instruction.b, panel.data(), static_cast<int64_t>(k) * kColumns, form);
    const int count = std::min(kColumns, n - first);
    const auto index = [&](int i, int j) { return static_cast<size_t>(i * n + first + j); };
    const auto sum = [&](int i, int j) -> float& { return acc[static_cast<size_t>(i * kColumns + j)]; };
    for (int i = 0; i < m; ++i) {
      for (int j = 0; j < count; ++j) sum(i, j) = load(instruction.c, c, index(i, j));
    }
    multiply(instruction, form, rows, columns, m, k, acc.data(), kColumns);
    for (int i = 0; i < m; ++i) {
      for (int j = 0; j < count; ++j) store(instruction.d, d, index(i, j), sum(i, j));
    }
  }
  return d;
}

}  // namespace greta::sim
