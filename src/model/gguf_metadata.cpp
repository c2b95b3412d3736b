#include "model/gguf_metadata.h"

#include <algorithm>
#include <cstring>

namespace greta {
namespace {

// An entry has at least a key of one byte (after its length), a type and a one-byte value.
constexpr uint64_t kSmallestEntry = 8 + 1 + 4 + 1;
// Real models have some dozens. The cap bounds the memory that a file of tiny entries can ask for.
constexpr uint64_t kMostEntries = 4096;

template <class T>
T load(std::span<const std::byte> bytes) {
  T value;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return value;
}

GgufType read_type(GgufCursor& cursor, std::string_view what) {
  const auto id = cursor.read<uint32_t>(what);
  if (id > static_cast<uint32_t>(GgufType::f64)) {
    cursor.fail("{} is {}, but GGUF's value types are 0 to 12; the file is damaged or newer than GRETA", what,
                id);
  }
  return static_cast<GgufType>(id);
}

/// Fills array.strings. The strings are walked before the list is made, so that its size is what was found in
/// the file, not what the file claims.
void read_strings(GgufCursor& cursor, GgufArray& array) {
  cursor.check_count(array.count, sizeof(uint64_t), "strings of the array");
  GgufCursor walk = cursor;
  for (uint64_t i = 0; i < array.count; ++i) walk.read_string("a string of the array");
  array.strings.reserve(array.count);
  GgufCursor fill = cursor;
  for (uint64_t i = 0; i < array.count; ++i)
    array.strings.push_back(fill.read_string("a string of the array"));
  array.bytes = cursor.take(walk.offset() - cursor.offset(), "the array");
}

void check_bools(const GgufCursor& cursor, std::span<const std::byte> bytes) {
  const bool good = std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b <= std::byte{1}; });
  if (!good) cursor.fail("a bool must be stored as 0 or 1; the file is damaged");
}

GgufArray read_array(GgufCursor& cursor, int depth);

/// Arrays of arrays are walked and skipped: no key that is read has one.
void skip_arrays(GgufCursor& cursor, GgufArray& array, int depth) {
  constexpr int kDeepest = 8;
  if (depth == kDeepest) cursor.fail("arrays are nested deeper than {}; the file is damaged", kDeepest);
  cursor.check_count(array.count, sizeof(uint32_t) + sizeof(uint64_t), "arrays of the array");
  GgufCursor walk = cursor;
  for (uint64_t i = 0; i < array.count; ++i) read_array(walk, depth + 1);
  array.bytes = cursor.take(walk.offset() - cursor.offset(), "the array");
}

GgufArray read_array(GgufCursor& cursor, int depth) {
  GgufArray array;
  const GgufType type = read_type(cursor, "the array's element type");
  array.element_type = static_cast<uint32_t>(type);
  array.count = cursor.read<uint64_t>("the array's length");
  if (type == GgufType::array) {
    skip_arrays(cursor, array, depth);
    return array;
  }
  if (type == GgufType::string) {
    read_strings(cursor, array);
    return array;
  }
  cursor.check_count(array.count, scalar_size(type), "elements of the array");
  array.bytes = cursor.take(array.count * scalar_size(type), "the array");
  if (type == GgufType::boolean) check_bools(cursor, array.bytes);
  return array;
}

GgufValue read_value(GgufCursor& cursor) {
  const GgufType type = read_type(cursor, "the value's type");
  if (type == GgufType::string) return cursor.read_string("the value's text");
  if (type == GgufType::array) return read_array(cursor, 1);
  const auto bytes = cursor.take(scalar_size(type), "the value");
  if (type == GgufType::boolean) check_bools(cursor, bytes);
  return decode_scalar(type, bytes);
}

}  // namespace

std::string_view name(GgufType type) {
  constexpr std::string_view kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                         "bool", "string", "array", "u64", "i64", "f64"};
  const auto id = static_cast<uint32_t>(type);
  return id < std::size(kNames) ? kNames[id] : "?";
}

uint64_t scalar_size(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean: return 1;
    case GgufType::u16:
    case GgufType::i16: return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32: return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64: return 8;
    case GgufType::string:
    case GgufType::array: break;
  }
  return 0;
}

std::string_view kind(const GgufValue& value) {
  constexpr std::string_view kKinds[] = {
      "an unsigned integer", "an integer", "a float", "a bool", "a string", "an array"};
  return kKinds[value.index()];
}

GgufValue decode_scalar(GgufType type, std::span<const std::byte> bytes) {
  switch (type) {
    case GgufType::u8: return uint64_t{load<uint8_t>(bytes)};
    case GgufType::u16: return uint64_t{load<uint16_t>(bytes)};
    case GgufType::u32: return uint64_t{load<uint32_t>(bytes)};
    case GgufType::u64: return load<uint64_t>(bytes);
    case GgufType::i8: return int64_t{load<int8_t>(bytes)};
    case GgufType::i16: return int64_t{load<int16_t>(bytes)};
    case GgufType::i32: return int64_t{load<int32_t>(bytes)};
    case GgufType::i64: return load<int64_t>(bytes);
    case GgufType::f32: return double{load<float>(bytes)};
    case GgufType::f64: return load<double>(bytes);
    case GgufType::boolean: return load<uint8_t>(bytes) != 0;
    case GgufType::string:
    case GgufType::array: break;
  }
  fail_machine("a GGUF {} is not a scalar", name(type));
}

std::vector<std::pair<std::string_view, GgufValue>> read_metadata(GgufCursor& cursor, uint64_t count) {
  if (count > kMostEntries) {
    cursor.fail("the header claims {} metadata entries; a model has at most {}", count, kMostEntries);
  }
  cursor.check_count(count, kSmallestEntry, "metadata entries");
  std::vector<std::pair<std::string_view, GgufValue>> entries;
  for (uint64_t i = 0; i < count; ++i) {
    cursor.enter("metadata entry", i);
    const std::string_view key = cursor.read_string("the key");
    cursor.set_name(key);
    if (key.empty()) cursor.fail("the key is empty; the file is damaged");
    if (key.find('\0') != key.npos) cursor.fail("the key contains a NUL byte; the file is damaged");
    entries.emplace_back(key, read_value(cursor));
  }
  cursor.leave();
  return entries;
}

}  // namespace greta
