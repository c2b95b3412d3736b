// Valid GGUF files: every value type, both versions, look-ups, tensors.

#include "model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "model/gguf_builder.h"
#include "model/gguf_error.h"
#include "model/gguf_model_file.h"

namespace greta::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(Gguf, ListsTensorsOfTypesThatItDoesNotKnow) {
  for (const uint32_t type : {4u, 16u, 28u, 40u, 1000u, 0x80000000u, 0xffffffffu}) {
    GgufBuilder file;
    file.add_f32("known", {4});
    file.tensors.push_back({"new", {257}, type, {}, {}, {}});
    const auto bytes = file.build();
    const ModelFile gguf = parse_gguf(std::as_bytes(std::span(bytes)), "f");
    ASSERT_NE(gguf.find_tensor("new"), nullptr) << type;
    EXPECT_TRUE(gguf.find_tensor("new")->data.empty()) << type;
    EXPECT_EQ(label(gguf.find_tensor("new")->type), fmt::format("type {}", type));
    EXPECT_EQ(label(gguf.find_tensor("known")->type), "f32");
  }
}

TEST(Gguf, ArraysOfArraysAreSkipped) {
  std::string nested;
  const auto add = [&](auto value) { nested.append(reinterpret_cast<const char*>(&value), sizeof value); };
  add(uint32_t{9}), add(uint64_t{2});                    // two arrays:
  add(uint32_t{4}), add(uint64_t{1}), add(uint32_t{7});  // [7]
  add(uint32_t{9}), add(uint64_t{0});                    // []
  const auto bytes = GgufBuilder().add_raw("k", 9, nested).set_string("after", "x").build();
  const ModelFile gguf = parse_gguf(std::as_bytes(std::span(bytes)), "f");
  EXPECT_EQ(std::get<GgufArray>(*gguf.find("k")).count, 2u);
  EXPECT_EQ(gguf.find_string("after"), "x");
}

TEST(Gguf, ReadsEveryScalarType) {
  GgufBuilder file;
  file.set<uint8_t>("u8", 200)
      .set<int8_t>("i8", -100)
      .set<uint16_t>("u16", 60000)
      .set<int16_t>("i16", -30000);
  file.set<uint32_t>("u32", 4000000000u).set<int32_t>("i32", -2000000000).set<float>("f32", 0.1f);
  file.set<bool>("true", true).set<bool>("false", false).set_string("string", "text");
  file.set<uint64_t>("u64", std::numeric_limits<uint64_t>::max());
  file.set<int64_t>("i64", std::numeric_limits<int64_t>::min()).set<double>("f64", 0.1);
  const Bytes bytes = file.build();
  const ModelFile gguf = parse_gguf(as_bytes(bytes), "test.gguf");

  EXPECT_EQ(gguf.metadata().size(), 13u);
  EXPECT_EQ(std::get<uint64_t>(*gguf.find("u8")), 200u);
  EXPECT_EQ(std::get<int64_t>(*gguf.find("i8")), -100);
  EXPECT_EQ(std::get<uint64_t>(*gguf.find("u16")), 60000u);
  EXPECT_EQ(std::get<int64_t>(*gguf.find("i16")), -30000);
  EXPECT_EQ(std::get<uint64_t>(*gguf.find("u32")), 4000000000u);
  EXPECT_EQ(std::get<int64_t>(*gguf.find("i32")), -2000000000);
  EXPECT_EQ(gguf.find_float("f32"), double{0.1f});
  EXPECT_EQ(gguf.find_bool("true"), true);
  EXPECT_EQ(gguf.find_bool("false"), false);
  EXPECT_EQ(gguf.find_string("string"), "text");
  EXPECT_EQ(std::get<uint64_t>(*gguf.find("u64")), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(std::get<int64_t>(*gguf.find("i64")), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(gguf.find_float("f64"), 0.1);
}

TEST(Gguf, ReadsArrays) {
  GgufBuilder file;
  file.set_array<int32_t>("i32", {-1, 0, 7})
      .set_array<uint8_t>("u8", {255})
      .set_array<float>("f32", {0.5f, -2.0f});
  file.set_array<double>("f64", {1e300})
      .set_strings("strings", {"", "b", "\n"})
      .set_array<int64_t>("empty", {});
  const Bytes bytes = file.build();
  const ModelFile gguf = parse_gguf(as_bytes(bytes), "test.gguf");

  EXPECT_THAT(*gguf.find_ints("i32"), ElementsAre(-1, 0, 7));
  EXPECT_THAT(*gguf.find_ints("u8"), ElementsAre(255));
  EXPECT_THAT(*gguf.find_ints("empty"), ElementsAre());
  EXPECT_THAT(*gguf.find_floats("f32"), ElementsAre(0.5, -2.0));
  EXPECT_THAT(*gguf.find_floats("f64"), ElementsAre(1e300));
  EXPECT_THAT(gguf.find_strings("strings")->strings, ElementsAre("", "b", "\n"));
  EXPECT_EQ(gguf.find_strings("strings")->count, 3u);
}

TEST(Gguf, AbsentKeysAreNotErrors) {
  const Bytes bytes = GgufBuilder().set<bool>("b", true).build();
  const ModelFile gguf = parse_gguf(as_bytes(bytes), "test.gguf");
  EXPECT_EQ(gguf.find(""), nullptr);
  EXPECT_EQ(gguf.find("a"), nullptr);
  EXPECT_EQ(gguf.find("c"), nullptr);
  EXPECT_EQ(gguf.find_uint("c", 1), std::nullopt);
  EXPECT_EQ(gguf.find_strings("c"), nullptr);
  EXPECT_EQ(gguf.find_ints("c"), std::nullopt);
  EXPECT_EQ(gguf.find_tensor("c"), nullptr);
}

TEST(Gguf, LookUpsRefuseOtherTypes) {
  GgufBuilder file;
  file.set<bool>("b", true).set<int32_t>("negative", -1).set<uint32_t>("big", 11).set_string("s", "x");
  file.set_array<float>("floats", {1.0f}).set_array<uint64_t>("wide", {std::numeric_limits<uint64_t>::max()});
  const Bytes bytes = file.build();
  const ModelFile gguf = parse_gguf(as_bytes(bytes), "test.gguf");
  const auto error = [](auto act) { return input_error(act); };

  EXPECT_THAT(error([&] { gguf.find_uint("b", 10); }), HasSubstr("b is a bool; expected an integer"));
  EXPECT_THAT(error([&] { gguf.find_uint("negative", 10); }), HasSubstr("negative is -1"));
  EXPECT_THAT(error([&] { gguf.find_uint("big", 10); }), HasSubstr("big is 11; it must be at most 10"));
  EXPECT_EQ(gguf.find_uint("big", 11), 11u);
  EXPECT_THAT(error([&] { gguf.find_float("big"); }), HasSubstr("expected a float"));
  EXPECT_THAT(error([&] { gguf.find_string("big"); }), HasSubstr("expected a string"));
  EXPECT_THAT(error([&] { gguf.find_bool("big"); }), HasSubstr("expected a bool"));
  EXPECT_THAT(error([&] { gguf.find_strings("s"); }),
              HasSubstr("s is a string; expected an array of strings"));
  EXPECT_THAT(error([&] { gguf.find_strings("floats"); }),
              HasSubstr("an array of f32; expected an array of string"));
  EXPECT_THAT(error([&] { gguf.find_ints("floats"); }), HasSubstr("expected an array of integers"));
  EXPECT_THAT(error([&] { gguf.find_floats("wide"); }), HasSubstr("expected an array of floats"));
  EXPECT_THAT(error([&] { gguf.find_ints("wide"); }), HasSubstr("does not fit in 63 bits"));
}

TEST(Gguf, FindsTensorsAndTheirData) {
  GgufBuilder file = tiny_llama();
  file.tensors.push_back({"q", {32, 2}, 8, Bytes(68, '\x11'), {}, {}});
  const Bytes bytes = file.build();
  const ModelFile gguf = parse_gguf(as_bytes(bytes), "test.gguf");
  for (const TensorEntry& expected : file.tensors) {
    const Tensor* tensor = gguf.find_tensor(expected.name);
    ASSERT_NE(tensor, nullptr) << expected.name;
    EXPECT_EQ(tensor->n_dims, static_cast<int>(expected.dims.size()));
    for (size_t i = 0; i < 4; ++i)
      EXPECT_EQ(tensor->dims[i], i < expected.dims.size() ? expected.dims[i] : 1);
    ASSERT_EQ(tensor->data.size(), expected.data.size());
    EXPECT_EQ(std::memcmp(tensor->data.data(), expected.data.data(), expected.data.size()), 0)
        << expected.name;
  }
  EXPECT_EQ(gguf.find_tensor("q")->type, TensorType::q8_0);
}

TEST(Gguf, ReadsVersion2AndOtherAlignments) {
  for (const uint32_t alignment : {8u, 24u, 64u, 1u << 20}) {
    GgufBuilder file = tiny_llama();
    file.version = 2;
    file.alignment = alignment;
    file.set<uint32_t>("general.alignment", alignment);
    const Bytes bytes = file.build();
    const ModelFile gguf = parse_gguf(as_bytes(bytes), "test.gguf");
    EXPECT_EQ(gguf.format(), "GGUF v2");
    const std::byte* start = gguf.parts().front().bytes.data();
    const auto offset = gguf.find_tensor("blk.1.ffn_down.weight")->data.data() - start;
    EXPECT_EQ(offset % alignment, 0);
  }
}

TEST(Gguf, AFileWithoutTensorsIsRead) {
  const Bytes bytes = GgufBuilder().set_string("general.architecture", "llama").build();
  EXPECT_TRUE(parse_gguf(as_bytes(bytes), "test.gguf").tensors().empty());
}

TEST(Gguf, PointersSurviveAMove) {
  const Bytes bytes = tiny_llama().build();
  ModelFile gguf = parse_gguf(as_bytes(bytes), "test.gguf");
  const Tensor* before = gguf.find_tensor("output.weight");
  const ModelFile moved = std::move(gguf);
  EXPECT_EQ(moved.find_tensor("output.weight"), before);
}

TEST(Gguf, OpenNamesThePathOfAMissingFile) {
  try {
    open_gguf("/no/such/model.gguf");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_THAT(error.what(), HasSubstr("/no/such/model.gguf"));
  }
}

TEST(Gguf, OpensSmolLm2) {
  const auto path = model_file("SmolLM2-135M-Instruct.Q4_1.gguf");
  if (!path) GTEST_SKIP() << kNoModel;
  const ModelFile gguf = open_gguf(*path);
  EXPECT_EQ(gguf.format(), "GGUF v3");
  EXPECT_EQ(gguf.tensors().size(), 272u);
  EXPECT_EQ(gguf.metadata().size(), 33u);
  EXPECT_EQ(gguf.find_strings("tokenizer.ggml.tokens")->strings.at(49151).empty(), false);
  EXPECT_EQ(gguf.find_strings("tokenizer.ggml.merges")->strings.size(), 48900u);
  EXPECT_EQ(gguf.find_ints("tokenizer.ggml.token_type")->size(), 49152u);
  EXPECT_EQ(gguf.find_tensor("blk.29.ffn_down.weight")->type, TensorType::q4_1);
  EXPECT_EQ(gguf.find_tensor("blk.29.ffn_down.weight")->dims[0], 1536u);
}

}  // namespace
}  // namespace greta::test
