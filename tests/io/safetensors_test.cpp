#include "io/safetensors.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <random>

#include "io/testing.h"

namespace greta {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

std::string file_of(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  std::string file(8, '\0');
  std::memcpy(file.data(), &size, 8);
  return file + header + data;
}

std::string entry(const std::string& dtype, const std::string& shape, int begin, int end) {
  return "{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":[" + std::to_string(begin) +
         "," + std::to_string(end) + "]}";
}

template <class T>
std::string raw(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T)};
}

TEST(Safetensors, WrittenFilesReadBackBitForBit) {
  std::mt19937 random(1);
  std::vector<NamedTensor> tensors{
      {"E0/p/decode0/L0.q", {2, 3}, {}}, {"scalar", {}, {}}, {"none", {0, 5}, {}}};
  std::vector<std::vector<float>> values;
  for (NamedTensor& tensor : tensors) {
    std::vector<float>& data = values.emplace_back(static_cast<size_t>(*element_count(tensor.shape)));
    for (float& value : data) {
      const auto bits = static_cast<uint32_t>(random());  // any bits: NaN payloads must survive as well
      std::memcpy(&value, &bits, 4);
    }
    tensor.data = data;
  }
  testing::TempDirectory directory;
  OutputFile file(directory / "t.safetensors");
  write_safetensors(file, tensors);
  file.close();
  const std::string text = testing::read_file(directory / "t.safetensors");
  const auto read = parse_safetensors(bytes_of(text), "t");
  ASSERT_EQ(read.size(), 3u);
  for (const NamedTensor& tensor : tensors) {
    const TensorView& view = read.at(tensor.name);
    EXPECT_EQ(view.shape, tensor.shape);
    const std::vector<float> data = to_floats(view);
    ASSERT_EQ(data.size(), tensor.data.size());
    const auto same = [](float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; };
    EXPECT_TRUE(std::equal(data.begin(), data.end(), tensor.data.begin(), same));
  }
}

TEST(Safetensors, ConvertsEveryDtype) {
  const auto floats = [](const std::string& dtype, const std::string& data, int count) {
    const std::string file = file_of(
        "{\"t\":" + entry(dtype, "[" + std::to_string(count) + "]", 0, static_cast<int>(data.size())) + "}",
        data);
    return to_floats(parse_safetensors(bytes_of(file), "x").at("t"));
  };
  EXPECT_THAT(floats("F16", raw<uint16_t>({0x3c00, 0xc000}), 2), ElementsAre(1.0f, -2.0f));
  EXPECT_THAT(floats("BF16", raw<uint16_t>({0x3f80, 0xc000}), 2), ElementsAre(1.0f, -2.0f));
  EXPECT_THAT(floats("F32", raw<float>({1.5f}), 1), ElementsAre(1.5f));
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_THAT(floats("F64", raw<double>({0.1, 1e300, -1e300}), 3), ElementsAre(0.1f, inf, -inf));
  EXPECT_THAT(floats("I64", raw<int64_t>({-3}), 1), ElementsAre(-3.0f));
  EXPECT_THAT(floats("I32", raw<int32_t>({-3}), 1), ElementsAre(-3.0f));
  EXPECT_THAT(floats("U8", raw<uint8_t>({255}), 1), ElementsAre(255.0f));
}

TEST(Safetensors, HostileFilesAreErrors) {
  const std::string data(16, 'x');
  const auto refusal = [&](const std::string& header) {
    const std::string file = file_of(header, data);
    return message_of([&] { parse_safetensors(bytes_of(file), "F"); });
  };
  EXPECT_THAT(refusal("{\"a\":" + entry("F32", "[5]", 0, 20) + "}"), HasSubstr("F: tensor \"a\""));
  EXPECT_THAT(refusal("{\"a\":" + entry("F32", "[4]", 8, 24) + "}"), HasSubstr("data_offsets"));
  EXPECT_THAT(refusal("{\"a\":" + entry("F32", "[4]", 0, 12) + "}"),
              HasSubstr("spans 12 bytes; the shape needs 16"));
  EXPECT_THAT(refusal("{\"a\":" + entry("F32", "[2]", 8, 0) + "}"), HasSubstr("[begin, end]"));
  EXPECT_THAT(refusal("{\"a\":" + entry("F32", "[-4]", 0, 16) + "}"), HasSubstr("field \"shape\""));
  EXPECT_THAT(refusal("{\"a\":" + entry("F32", "[4294967296,4294967296]", 0, 0) + "}"),
              HasSubstr("field \"shape\""));
  EXPECT_THAT(refusal("{\"a\":" + entry("Q4_1", "[4]", 0, 16) + "}"), HasSubstr("Q4_1"));
  EXPECT_THAT(refusal("{\"a\":" + entry("F32", "[2]", 0, 8) + ",\"b\":" + entry("F32", "[2]", 4, 12) + "}"),
              HasSubstr("share bytes"));
  EXPECT_THAT(refusal("{\"a\":" + entry("F32", "[2]", 0, 8) + ",\"a\":" + entry("F32", "[2]", 8, 16) + "}"),
              HasSubstr("occurs twice"));
  EXPECT_THAT(refusal("[]"), HasSubstr("no JSON object"));
  EXPECT_THAT(refusal("{\"a\":7}"), HasSubstr("expected a JSON object"));
  EXPECT_THAT(refusal("{"), HasSubstr("not valid JSON"));
  const std::string huge_header("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10);
  EXPECT_THAT(message_of([&] { parse_safetensors(bytes_of(huge_header), "F"); }), HasSubstr("does not fit"));
}

TEST(Safetensors, EveryTruncationIsAnError) {
  const std::string file = file_of("{\"a\":" + entry("F32", "[4]", 0, 16) + "}", std::string(16, 'x'));
  EXPECT_NO_THROW(parse_safetensors(bytes_of(file), "F"));
  for (size_t size = 0; size < file.size(); ++size) {
    const std::string cut = file.substr(0, size);
    EXPECT_THROW(parse_safetensors(bytes_of(cut), "F"), Error) << size;
  }
}

TEST(ElementCount, SeesOverflow) {
  const auto count = [](std::vector<int64_t> shape) { return element_count(shape); };
  EXPECT_EQ(count({}), 1);
  EXPECT_EQ(count({3, 0, int64_t{1} << 62}), 0);
  EXPECT_EQ(count({int64_t{1} << 31, int64_t{1} << 31}), int64_t{1} << 62);
  EXPECT_EQ(count({int64_t{1} << 32, int64_t{1} << 32}), std::nullopt);
  EXPECT_EQ(count({-1}), std::nullopt);
}

}  // namespace
}  // namespace greta
