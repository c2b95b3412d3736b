#include "capture/values.h"

#include <cstring>

#include "base/half.h"

namespace greta::capture {
namespace {

constexpr size_t kBlock = 32;  // of q8_0: an f16 scale, then so many int8

template <class T>
T load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

}  // namespace

bool is_readable(std::string_view type) {
  return type == "f32" || type == "f16" || type == "bf16" || type == "q8_0" || type == "i32";
}

Values::Values(Tensor tensor) {
  const std::string_view type = tensor.type();
  type_ = type == "f32"    ? Type::f32
          : type == "f16"  ? Type::f16
          : type == "bf16" ? Type::bf16
          : type == "i32"  ? Type::i32
                           : Type::q8_0;
  for (int i = 0; i < 4; ++i) nb_[i] = tensor.nb(i);
  bytes_.resize(the_ggml->call().nbytes(tensor.address()));
  if (!bytes_.empty()) the_ggml->call().tensor_get(tensor.address(), bytes_.data(), 0, bytes_.size());
}

const char* Values::place(size_t first, int64_t i1, int64_t i2, int64_t i3) const {
  return bytes_.data() + first * nb_[0] + static_cast<size_t>(i1) * nb_[1] +
         static_cast<size_t>(i2) * nb_[2] + static_cast<size_t>(i3) * nb_[3];
}

float Values::at(int64_t i0, int64_t i1, int64_t i2, int64_t i3) const {
  const auto i = static_cast<size_t>(i0);
  switch (type_) {
    case Type::f32: return load<float>(place(i, i1, i2, i3));
    case Type::f16: return f16_to_f32(load<uint16_t>(place(i, i1, i2, i3)));
    case Type::bf16: return bf16_to_f32(load<uint16_t>(place(i, i1, i2, i3)));
    case Type::i32: return static_cast<float>(load<int32_t>(place(i, i1, i2, i3)));
    case Type::q8_0: break;
  }
  const char* block = place(i / kBlock, i1, i2, i3);
  return f16_to_f32(load<uint16_t>(block)) * static_cast<float>(load<int8_t>(block + 2 + i % kBlock));
}

void Values::append_row(std::vector<float>& to, int64_t count, int64_t i1, int64_t i2, int64_t i3) const {
  const size_t first = to.size();
  to.resize(first + static_cast<size_t>(count));
  if (type_ == Type::f32 && nb_[0] == sizeof(float)) {
    std::memcpy(to.data() + first, place(0, i1, i2, i3), static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) to[first + static_cast<size_t>(i)] = at(i, i1, i2, i3);
}

std::vector<int64_t> integers(Tensor tensor) {
  const bool wide = tensor.type() == "i64";
  if ((!wide && tensor.type() != "i32") || !tensor.is_there()) return {};
  std::vector<char> bytes(the_ggml->call().nbytes(tensor.address()));
  if (!bytes.empty()) the_ggml->call().tensor_get(tensor.address(), bytes.data(), 0, bytes.size());
  std::vector<int64_t> values;
  const size_t size = wide ? sizeof(int64_t) : sizeof(int32_t);
  for (size_t at = 0; at + size <= bytes.size(); at += size)
    values.push_back(wide ? load<int64_t>(&bytes[at]) : load<int32_t>(&bytes[at]));
  return values;
}

}  // namespace greta::capture
