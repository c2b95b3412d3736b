// decode_row against the values that the Python package `gguf` decodes (tests/goldens/make_dequant.py). No
// tolerance: decoded values are exact, numpy rounds each once to f32, so the exact values rounded to f32 must
// have the same bits.

#include "numerics/dequant.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/error.h"
#include "model/gguf.h"
#include "model/gguf_model_file.h"
#include "numerics/golden_file.h"
#include "numerics/test_tensors.h"

namespace greta {
namespace {

using Goldens = test::GoldenFile;

class DequantGolden : public testing::TestWithParam<TensorType> {};

TEST_P(DequantGolden, EqualsThePythonPackageBitForBit) {
  const Goldens goldens("dequant.safetensors");
  const std::string type(name(GetParam()));
  const std::vector<std::byte> want = goldens.bytes(type + ".values");
  const int64_t count = static_cast<int64_t>(want.size() / sizeof(float));
  // As one row, and as rows of one block: rows must start where the last one ended.
  const int64_t block = std::max<int64_t>(info(GetParam()).block, 32);
  for (const int64_t k : {count, block}) {
    const test::Weight weight = test::make_weight(GetParam(), k, count / k, goldens.bytes(type + ".blocks"));
    ASSERT_EQ(row_count(weight.tensor), count / k);
    std::vector<double> row(static_cast<size_t>(k));
    for (int64_t r = 0; r < count / k; ++r) {
      decode_row(weight.tensor, r, row);
      for (int64_t i = 0; i < k; ++i) {
        float expected;
        std::memcpy(&expected, want.data() + (r * k + i) * 4, sizeof expected);
        ASSERT_EQ(std::bit_cast<uint32_t>(static_cast<float>(row[static_cast<size_t>(i)])),
                  std::bit_cast<uint32_t>(expected))
            << type << " element " << r * k + i << ": " << row[static_cast<size_t>(i)] << " not " << expected;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, DequantGolden,
                         testing::Values(TensorType::f32, TensorType::f16, TensorType::bf16, TensorType::q4_0,
                                         TensorType::q4_1, TensorType::q5_0, TensorType::q5_1,
                                         TensorType::q8_0, TensorType::q2_k, TensorType::q3_k,
                                         TensorType::q4_k, TensorType::q5_k, TensorType::q6_k,
                                         TensorType::iq4_nl, TensorType::iq4_xs, TensorType::mxfp4),
                         [](const auto& type) { return std::string(name(type.param)); });

/// CRC-32 as zlib has it.
uint32_t crc32(std::span<const float> values, uint32_t crc) {
  static const auto table = [] {
    std::array<uint32_t, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int bit = 0; bit < 8; ++bit) c = (c & 1) ? 0xedb88320u ^ (c >> 1) : c >> 1;
      t[i] = c;
    }
    return t;
  }();
  crc = ~crc;
  for (const std::byte byte : std::as_bytes(values)) {
    crc = table[(crc ^ static_cast<uint32_t>(byte)) & 255] ^ (crc >> 8);
  }
  return ~crc;
}

/// The first rows of every tensor of a real model, by checksum.
void check_model(const std::string& file, const std::string& path, const nlohmann::json& golden) {
  const auto& checksums = golden.at("models").at(file);
  const ModelFile model = open_gguf(path);
  ASSERT_EQ(model.tensors().size(), checksums.size());
  for (const Tensor& tensor : model.tensors()) {
    std::vector<double> row(tensor.dims[0]);
    std::vector<float> rounded(row.size());
    uint32_t crc = 0;
    for (int64_t r = 0; r < std::min(row_count(tensor), golden.at("rows").get<int64_t>()); ++r) {
      decode_row(tensor, r, row);
      for (size_t i = 0; i < row.size(); ++i) rounded[i] = static_cast<float>(row[i]);
      crc = crc32(rounded, crc);
    }
    EXPECT_EQ(crc, checksums.at(std::string(tensor.name)).get<uint32_t>())
        << tensor.name << " " << name(tensor.type);
  }
}

TEST(Dequant, SmolLM2AndOtherModelsEqualThePythonPackage) {
  std::ifstream text(std::string(GRETA_SOURCE_DIR) + "/tests/goldens/dequant_models.json");
  const nlohmann::json golden = nlohmann::json::parse(text);
  int found = 0;
  for (const auto& [file, checksums] : golden.at("models").items()) {
    if (const auto path = test::model_file(file)) {
      check_model(file, *path, golden);
      ++found;
    }
  }
  if (found == 0) GTEST_SKIP() << test::kNoModel;
}

TEST(Dequant, ActivationFormatsAreRefused) {
  for (const TensorType type : {TensorType::q8_1, TensorType::q8_k}) {
    EXPECT_FALSE(can_decode(type));
    const test::Weight weight =
        test::make_weight(type, info(type).block, 1, std::vector<std::byte>(info(type).bytes));
    std::vector<double> row(info(type).block);
    EXPECT_THROW(decode_row(weight.tensor, 0, row), Error);
  }
}

TEST(Dequant, DataThatDoNotFitTheShapeAreRefused) {
  std::vector<double> row(32);
  const test::Weight shorter = test::make_weight(TensorType::q8_0, 32, 2, std::vector<std::byte>(34));
  EXPECT_THROW(decode_row(shorter.tensor, 0, row), Error);
  const test::Weight ragged = test::make_weight(TensorType::q8_0, 33, 1, std::vector<std::byte>(34));
  std::vector<double> longer(33);
  EXPECT_THROW(decode_row(ragged.tensor, 0, longer), Error);
  const test::Weight good = test::make_weight(TensorType::q8_0, 32, 1, std::vector<std::byte>(34));
  EXPECT_THROW(decode_row(good.tensor, 1, row), Error);
  EXPECT_THROW(decode_row(good.tensor, 0, longer), Error);
}

}  // namespace
}  // namespace greta
