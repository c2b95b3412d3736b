#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/half.h"
#include "io/json_fields.h"

namespace greta {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data are little-endian");

constexpr uint64_t kMaxHeader = 100'000'000;  // the limit of the reference implementation

struct Dtype {
  std::string_view name;
  int64_t size;
  float (*to_float)(const std::byte*);
};

template <class T>
float load(const std::byte* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return static_cast<float>(value);
}

float load_f16(const std::byte* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return f16_to_f32(bits);
}

float load_bf16(const std::byte* p) {
  uint16_t bits;
  std::memcpy(&bits, p, sizeof bits);
  return bf16_to_f32(bits);
}

/// f64 -> f32; what is too large becomes infinity (the plain conversion would be undefined there).
float load_f64(const std::byte* p) {
  double value;
  std::memcpy(&value, p, sizeof value);
  constexpr double kLimit = 0x1.ffffffp127;  // half an ULP above the largest f32
  if (value >= kLimit) return std::numeric_limits<float>::infinity();
  if (value <= -kLimit) return -std::numeric_limits<float>::infinity();
  return static_cast<float>(value);
}

/// 1 sign, 4 exponent, 3 mantissa bits, bias 7; no infinities, one NaN.
float load_e4m3(const std::byte* p) {
  const int code = std::to_integer<int>(*p), exponent = code >> 3 & 15, mantissa = code & 7;
  if ((code & 0x7f) == 0x7f) return std::numeric_limits<float>::quiet_NaN();
  const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                   : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
  return (code & 0x80) != 0 ? -size : size;
}

/// A power of two.
float load_e8m0(const std::byte* p) {
  const int exponent = std::to_integer<int>(*p);
  return exponent == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0f, exponent - 127);
}

constexpr std::array<Dtype, 14> kDtypes{{{"F32", 4, load<float>},
                                         {"F16", 2, load_f16},
                                         {"BF16", 2, load_bf16},
                                         {"F64", 8, load_f64},
                                         {"I64", 8, load<int64_t>},
                                         {"I32", 4, load<int32_t>},
                                         {"I16", 2, load<int16_t>},
                                         {"U16", 2, load<uint16_t>},
                                         {"I8", 1, load<int8_t>},
                                         {"U8", 1, load<uint8_t>},
                                         {"U32", 4, load<uint32_t>},
                                         {"F8_E4M3", 1, load_e4m3},
                                         {"F8_E8M0", 1, load_e8m0},
                                         {"BOOL", 1, load<uint8_t>}}};

const Dtype* find_dtype(std::string_view name) {
  const auto* found =
      std::find_if(kDtypes.begin(), kDtypes.end(), [&](const Dtype& d) { return d.name == name; });
  return found == kDtypes.end() ? nullptr : found;
}

TensorView parse_entry(const nlohmann::json& entry, std::span<const std::byte> data,
                       const std::string& where) {
  const Fields fields(entry, where);
  TensorView view;
  view.dtype = fields.text("dtype");
  const Dtype* dtype = find_dtype(view.dtype);
  if (dtype == nullptr) fields.fail("dtype", fmt::format("is \"{}\", which GRETA does not read", view.dtype));
  const auto available = static_cast<int64_t>(data.size());
  view.shape = fields.integers("shape", 0, std::numeric_limits<int64_t>::max());
  const std::optional<int64_t> count = element_count(view.shape);
  if (!count || *count > available / dtype->size) fields.fail("shape", "needs more bytes than the file has");
  view.count = *count;
  const std::vector<int64_t> range = fields.integers("data_offsets", 0, available);
  if (range.size() != 2 || range[0] > range[1]) fields.fail("data_offsets", "must be [begin, end]");
  const int64_t size = range[1] - range[0];
  if (size != view.count * dtype->size) {
    fields.fail("data_offsets",
                fmt::format("spans {} bytes; the shape needs {}", size, view.count * dtype->size));
  }
  view.bytes = data.subspan(static_cast<size_t>(range[0]), static_cast<size_t>(size));
  return view;
}

void refuse_overlap(const std::map<std::string, TensorView>& tensors, const std::string& where) {
  std::vector<std::pair<std::span<const std::byte>, const std::string*>> ranges;
  for (const auto& [name, view] : tensors) {
    if (!view.bytes.empty()) ranges.emplace_back(view.bytes, &name);
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const auto& a, const auto& b) { return a.first.data() < b.first.data(); });
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first.data() < ranges[i - 1].first.data() + ranges[i - 1].first.size()) {
      fail_input("{}: tensors \"{}\" and \"{}\" share bytes", where, *ranges[i - 1].second,
                 *ranges[i].second);
    }
  }
}

template <class Tensor, class DtypeOf>
void write(OutputFile& file, std::span<const Tensor> tensors, const DtypeOf& dtype_of) {
  nlohmann::json json{{"__metadata__", {{"writer", "greta"}}}};
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors) {
    const uint64_t end = offset + std::as_bytes(std::span(tensor.data)).size();
    json[tensor.name] = {
        {"dtype", dtype_of(tensor)}, {"shape", tensor.shape}, {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string header = dump_json(json);
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const uint64_t header_size = header.size();
  file.write(std::as_bytes(std::span(&header_size, 1)));
  file.write(header);
  for (const Tensor& tensor : tensors) file.write(std::as_bytes(std::span(tensor.data)));
}

}  // namespace

std::optional<int64_t> element_count(std::span<const int64_t> shape) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return 0;
  int64_t count = 1;
  for (const int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(count, extent, &count)) return std::nullopt;
  }
  return count;
}

std::map<std::string, TensorView> parse_safetensors(std::span<const std::byte> file,
                                                    const std::string& where) {
  uint64_t header_size = 0;
  if (file.size() < sizeof header_size) fail_input("{}: too short for a safetensors file", where);
  std::memcpy(&header_size, file.data(), sizeof header_size);
  if (header_size > file.size() - sizeof header_size || header_size > kMaxHeader) {
    fail_input("{}: header of {} bytes does not fit a file of {} bytes", where, header_size, file.size());
  }
  const auto header = file.subspan(sizeof header_size, header_size);
  const auto data = file.subspan(sizeof header_size + header_size);
  const std::string_view text(reinterpret_cast<const char*>(header.data()), header.size());
  const nlohmann::json json = parse_json(text, where + ": header");
  if (!json.is_object()) fail_input("{}: header is no JSON object", where);

  std::map<std::string, TensorView> tensors;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") continue;
    tensors.emplace(name, parse_entry(entry, data, fmt::format("{}: tensor \"{}\"", where, name)));
  }
  refuse_overlap(tensors, where);
  return tensors;
}

std::vector<float> to_floats(const TensorView& tensor) {
  std::vector<float> values(static_cast<size_t>(tensor.count));
  const Dtype* dtype = find_dtype(tensor.dtype);
  if (dtype->name == "F32") {
    if (!values.empty()) std::memcpy(values.data(), tensor.bytes.data(), tensor.bytes.size());
    return values;
  }
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = dtype->to_float(tensor.bytes.data() + static_cast<int64_t>(i) * dtype->size);
  }
  return values;
}

void write_safetensors(OutputFile& file, std::span<const NamedTensor> tensors) {
  write(file, tensors, [](const NamedTensor&) { return "F32"; });
}

void write_safetensors(OutputFile& file, std::span<const NamedBytes> tensors) {
  write(file, tensors, [](const NamedBytes& tensor) { return tensor.dtype; });
}

}  // namespace greta
