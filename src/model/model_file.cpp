#include "model/model_file.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/hash.h"
#include "model/gguf_cursor.h"
#include "model/gguf_metadata.h"

namespace greta {
namespace {

/// Indices of `items` sorted by name; an input Error when a name comes twice.
template <class Items, class Name>
std::vector<uint32_t> order_by_name(const Items& items, Name name_of, std::string_view label,
                                    std::string_view what) {
  std::vector<uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto less = [&](uint32_t a, uint32_t b) { return name_of(items[a]) < name_of(items[b]); };
  std::sort(order.begin(), order.end(), less);
  const auto same = [&](uint32_t a, uint32_t b) { return name_of(items[a]) == name_of(items[b]); };
  const auto twice = std::adjacent_find(order.begin(), order.end(), same);
  if (twice != order.end()) {
    fail_input("{}: {} '{}' comes twice; the file is damaged", label, what, excerpt(name_of(items[*twice])));
  }
  return order;
}

template <class Items, class Name>
auto find_by_name(const Items& items, const std::vector<uint32_t>& order, Name name_of, std::string_view name)
    -> decltype(items.data()) {
  const auto found =
      std::lower_bound(order.begin(), order.end(), name,
                       [&](uint32_t i, std::string_view wanted) { return name_of(items[i]) < wanted; });
  return found != order.end() && name_of(items[*found]) == name ? &items[*found] : nullptr;
}

constexpr auto kKeyOf = [](const auto& entry) { return entry.first; };
constexpr auto kNameOf = [](const Tensor& tensor) { return tensor.name; };

[[noreturn]] void fail_type(const ModelFile& file, std::string_view key, const GgufValue& value,
                            std::string_view expected) {
  fail_input("{}: {} is {}; expected {}", file.path(), excerpt(key), kind(value), expected);
}

[[noreturn]] void fail_element_type(const ModelFile& file, std::string_view key, const GgufArray& array,
                                    std::string_view expected) {
  fail_input("{}: {} is an array of {}; expected an array of {}", file.path(), excerpt(key),
             name(static_cast<GgufType>(array.element_type)), expected);
}

template <class T>
std::optional<T> find_as(const ModelFile& file, std::string_view key, std::string_view expected) {
  const GgufValue* value = file.find(key);
  if (value == nullptr) return std::nullopt;
  if (const T* found = std::get_if<T>(value)) return *found;
  fail_type(file, key, *value, expected);
}

const GgufArray* find_array(const ModelFile& file, std::string_view key, std::string_view expected) {
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

template <class Hex>
std::string digest_of(const std::vector<FilePart>& parts, Hex hex) {
  if (parts.size() == 1) return hex(parts.front().bytes);
  std::vector<size_t> order(parts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) -> const std::string& { return parts[i].name; });
  std::string text;
  for (const size_t i : order) text += fmt::format("{}  {}\n", hex(parts[i].bytes), parts[i].name);
  return hex(std::as_bytes(std::span(text)));
}

}  // namespace

void ModelFile::set_metadata(Metadata metadata) {
  metadata_ = std::move(metadata);
  key_order_ = order_by_name(metadata_, kKeyOf, path_, "metadata key");
}

void ModelFile::set_tensors(std::vector<Tensor> tensors) {
  tensors_ = std::move(tensors);
  tensor_order_ = order_by_name(tensors_, kNameOf, path_, "tensor");
}

uint64_t ModelFile::file_size() const {
  uint64_t size = 0;
  for (const FilePart& part : parts_) size += part.bytes.size();
  return size;
}

const std::string& ModelFile::xxh3() const {
  if (xxh3_.empty())
    xxh3_ = "xxh3-128:" + digest_of(parts_, [](auto bytes) { return hash_bytes(bytes).hex(); });
  return xxh3_;
}

std::string ModelFile::sha256() const { return "sha256:" + digest_of(parts_, sha256_hex); }

void ModelFile::forget(std::span<const std::byte> part) const noexcept {
  for (const FilePart& file : parts_) file.map.forget(part);
}

const GgufValue* ModelFile::find(std::string_view key) const {
  const auto* entry = find_by_name(metadata_, key_order_, kKeyOf, key);
  return entry == nullptr ? nullptr : &entry->second;
}

const Tensor* ModelFile::find_tensor(std::string_view name) const {
  return find_by_name(tensors_, tensor_order_, kNameOf, name);
}

std::optional<uint64_t> ModelFile::find_uint(std::string_view key, uint64_t max) const {
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

std::optional<double> ModelFile::find_float(std::string_view key) const {
  return find_as<double>(*this, key, "a float");
}

std::optional<bool> ModelFile::find_bool(std::string_view key) const {
  return find_as<bool>(*this, key, "a bool");
}

std::optional<std::string_view> ModelFile::find_string(std::string_view key) const {
  return find_as<std::string_view>(*this, key, "a string");
}

const GgufArray* ModelFile::find_strings(std::string_view key) const {
  const GgufArray* array = find_array(*this, key, "an array of strings");
  if (array != nullptr && array->element_type != static_cast<uint32_t>(GgufType::string)) {
    fail_element_type(*this, key, *array, "string");
  }
  return array;
}

std::optional<std::vector<int64_t>> ModelFile::find_ints(std::string_view key) const {
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

std::optional<std::vector<double>> ModelFile::find_floats(std::string_view key) const {
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
