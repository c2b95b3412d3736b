// The typed look-ups of Gguf: a value of another type is an error of the file, not a missing key.

#include <limits>

#include "model/gguf.h"
#include "model/gguf_metadata.h"

namespace greta {
namespace {

[[noreturn]] void fail_type(const Gguf& file, std::string_view key, const GgufValue& value,
                            std::string_view expected) {
  fail_input("{}: {} is {}; expected {}", file.path(), excerpt(key), kind(value), expected);
}

[[noreturn]] void fail_element_type(const Gguf& file, std::string_view key, const GgufArray& array,
                                    std::string_view expected) {
  fail_input("{}: {} is an array of {}; expected an array of {}", file.path(), excerpt(key),
             name(static_cast<GgufType>(array.element_type)), expected);
}

template <class T>
std::optional<T> find_as(const Gguf& file, std::string_view key, std::string_view expected) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) return std::nullopt;
  if (const T* found = std::get_if<T>(value)) return *found;
  fail_type(file, key, *value, expected);
}

const GgufArray* find_array(const Gguf& file, std::string_view key, std::string_view expected) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) return nullptr;
  if (const auto* array = std::get_if<GgufArray>(value)) return array;
  fail_type(file, key, *value, expected);
}

/// Calls use(value) with every element of an array of scalars.
template <class Use>
void for_each_scalar(const GgufArray& array, Use use) {
  const auto type = static_cast<GgufType>(array.element_type);
  const uint64_t size = scalar_size(type);
  for (uint64_t i = 0; i < array.count; ++i) use(decode_scalar(type, array.bytes.subspan(i * size, size)));
}

}  // namespace

std::optional<uint64_t> Gguf::find_uint(std::string_view key, uint64_t max) const {
  const GgufValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  uint64_t number = 0;
  if (const auto* u = std::get_if<uint64_t>(value)) {
    number = *u;
  } else if (const auto* i = std::get_if<int64_t>(value)) {
    if (*i < 0) fail_input("{}: {} is {}; it must not be negative", path_, excerpt(key), *i);
    number = static_cast<uint64_t>(*i);
  } else {
    fail_type(*this, key, *value, "an integer");
  }
  if (number > max) fail_input("{}: {} is {}; it must be at most {}", path_, excerpt(key), number, max);
  return number;
}

std::string Gguf::part() const {
  const auto most = std::numeric_limits<uint64_t>::max() - 1;
  const uint64_t count = find_uint("split.count", most).value_or(0);
  if (count <= 1) return {};
  const auto number = find_uint("split.no", most);
  return number ? fmt::format("part {} of {} of a split model", *number + 1, count)
                : fmt::format("one of {} parts of a split model", count);
}

void refuse_part(const Gguf& file) {
  const std::string part = file.part();
  if (part.empty()) return;
  fail_input("{}: {}; merge them first: llama-gguf-split --merge FIRST_PART WHOLE", file.path(), part);
}

std::optional<double> Gguf::find_float(std::string_view key) const {
  return find_as<double>(*this, key, "a float");
}

std::optional<bool> Gguf::find_bool(std::string_view key) const {
  return find_as<bool>(*this, key, "a bool");
}

std::optional<std::string_view> Gguf::find_string(std::string_view key) const {
  return find_as<std::string_view>(*this, key, "a string");
}

const GgufArray* Gguf::find_strings(std::string_view key) const {
  const GgufArray* array = find_array(*this, key, "an array of strings");
  if (array != nullptr && array->element_type != static_cast<uint32_t>(GgufType::string)) {
    fail_element_type(*this, key, *array, "string");
  }
  return array;
}

std::optional<std::vector<int64_t>> Gguf::find_ints(std::string_view key) const {
  const GgufArray* array = find_array(*this, key, "an array of integers");
  if (array == nullptr) return std::nullopt;
  switch (static_cast<GgufType>(array->element_type)) {
    case GgufType::f32:
    case GgufType::f64:
    case GgufType::boolean:
    case GgufType::string:
    case GgufType::array: fail_element_type(*this, key, *array, "integers");
    default: break;
  }
  std::vector<int64_t> numbers;
  numbers.reserve(array->count);  // the elements were found in the file
  for_each_scalar(*array, [&](const GgufValue& value) {
    const auto* u = std::get_if<uint64_t>(&value);
    if (u != nullptr && *u > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      fail_input("{}: {} holds {}, which does not fit in 63 bits", path_, excerpt(key), *u);
    }
    numbers.push_back(u != nullptr ? static_cast<int64_t>(*u) : std::get<int64_t>(value));
  });
  return numbers;
}

std::optional<std::vector<double>> Gguf::find_floats(std::string_view key) const {
  const GgufArray* array = find_array(*this, key, "an array of floats");
  if (array == nullptr) return std::nullopt;
  const auto type = static_cast<GgufType>(array->element_type);
  if (type != GgufType::f32 && type != GgufType::f64) fail_element_type(*this, key, *array, "floats");
  std::vector<double> numbers;
  numbers.reserve(array->count);
  for_each_scalar(*array, [&](const GgufValue& value) { numbers.push_back(std::get<double>(value)); });
  return numbers;
}

}  // namespace greta
