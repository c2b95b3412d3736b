#include "sim/block.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/cpu_features.h"
#include "base/error.h"
#include "sim/block_form.h"
#include "sim/rule.h"

namespace greta::sim {
namespace {

uint32_t load_bits(const void* bits, int bytes, int64_t index) {
  uint32_t word = 0;
  std::memcpy(&word, static_cast<const std::byte*>(bits) + index * bytes, static_cast<size_t>(bytes));
  return word;
}

bool is_fused(units::Rule rule) { return rule != units::Rule::fma_chain && rule != units::Rule::pairwise; }

/// The values of all one-byte patterns.
const float* byte_values(units::Element element) {
  static const auto tables = [] {
    std::array<std::array<float, 256>, 8> all{};
    for (size_t e = 0; e < all.size(); ++e) {
      if (info(static_cast<units::Element>(e)).bytes != 1) continue;
      for (uint32_t bits = 0; bits < 256; ++bits) all[e][bits] = to_f32(static_cast<units::Element>(e), bits);
    }
    return all;
  }();
  return tables[static_cast<size_t>(element)].data();
}

void multiply_scalar(const units::Instruction& instruction, const Operand& a, const Operand& b, int64_t rows,
                     int64_t k, float* acc, int64_t acc_stride) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int j = 0; j < kColumns; ++j) {
      float& sum = acc[i * acc_stride + j];
      sum = dot(instruction, a.values() + i * k, b.values() + j, kColumns, k, sum);
    }
  }
}

const BlockForm& vector_form(Form form) { return form == Form::avx2 ? kAvx2Form : kAvx512Form; }

/// The vector forms know the rules of real units only, and not the one in which K has another order.
bool has_vector_form(const units::Instruction& instruction) {
  const bool floored =
      instruction.rule == units::Rule::floored || instruction.rule == units::Rule::floored_fp8;
  const bool altered = instruction.nearest || (floored && instruction.fraction_bits != 24);
  return !altered && instruction.rule != units::Rule::two_f16;
}

OperandView view(const Operand& operand) {
  return {operand.values(), operand.significands(), operand.exponents()};
}

}  // namespace

std::string_view name(Form form) {
  return form == Form::scalar ? "scalar" : form == Form::avx2 ? "avx2" : "avx512";
}

Form best_form() {
  static const Form best = [] {
    if (!missing_features(kAvx2Features).empty()) return Form::scalar;
    return missing_features(kAvx512Features).empty() ? Form::avx512 : Form::avx2;
  }();
  return best;
}

void Operand::assign(const units::Instruction& instruction, units::Element element, const void* bits,
                     int64_t count, Form form) {
  const units::ElementInfo& layout = info(element);
  value_.resize(static_cast<size_t>(count));
  int64_t done = 0;
  if (form != Form::scalar) {
    const size_t terms = is_fused(instruction.rule) ? value_.size() : 0;
    significand_.resize(terms);
    exponent_.resize(terms);
    // The tail is read from a copy, padded.
    const int64_t whole = count / kColumns * kColumns, rest = count - whole;
    ElementsToRead read{element,
                        instruction.flush,
                        layout.min_exponent,
                        instruction.zero_exponent,
                        byte_values(element),
                        bits,
                        whole,
                        value_.data(),
                        terms ? significand_.data() : nullptr,
                        exponent_.data()};
    vector_form(form).read(read);
    if (rest != 0) {
      std::array<std::byte, kColumns * 4> tail{};
      std::array<float, kColumns> value;
      std::array<int32_t, kColumns> significand, exponent;
      std::memcpy(tail.data(), static_cast<const std::byte*>(bits) + whole * layout.bytes,
                  static_cast<size_t>(rest * layout.bytes));
      read.bits = tail.data(), read.count = kColumns, read.value = value.data();
      read.significand = terms ? significand.data() : nullptr, read.exponent = exponent.data();
      vector_form(form).read(read);
      std::copy_n(value.data(), rest, value_.data() + whole);
      if (terms) std::copy_n(significand.data(), rest, significand_.data() + whole);
      if (terms) std::copy_n(exponent.data(), rest, exponent_.data() + whole);
    }
    return;
  }
  for (; done < count; ++done) {
    value_[static_cast<size_t>(done)] = read_input(instruction, element, load_bits(bits, layout.bytes, done));
  }
}

void multiply(const units::Instruction& instruction, Form form, const Operand& a, const Operand& b,
              int64_t rows, int64_t k, float* acc, int64_t acc_stride) {
  if (k % instruction.k != 0) {
    fail_machine("{}: K = {} is no multiple of {}", instruction.full_name(), k, instruction.k);
  }
  if (form == Form::scalar || !has_vector_form(instruction))
    return multiply_scalar(instruction, a, b, rows, k, acc, acc_stride);
  vector_form(form).multiply({&instruction, info(instruction.d).min_exponent, add_group, dot, view(a),
                              view(b), rows, k, acc, acc_stride});
}

}  // namespace greta::sim
