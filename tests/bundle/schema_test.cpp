// docs/trace.schema.json and the bundles that are really written say the same.

#include <nlohmann/json.hpp>

#include "bundle/bundle.h"
#include "bundle/schema_validation.h"
#include "io/testing.h"

namespace greta {
namespace {

using ::testing::HasSubstr;
using testing::kSchema;
using testing::read_file;
using testing::TempDirectory;
using testing::validate;
using testing::write_file;

void write_sample(const std::string& directory) {
  const nlohmann::json manifest{
      {"engine", "greta"},
      {"version", "0.1.0"},
      {"model",
       {{"file", "m.gguf"},
        {"hash", "xxh3-128:" + std::string(32, 'a')},
        {"name", "m"},
        {"architecture", "llama"},
        {"n_head", 9}}},
      {"device", "cpu"},
      {"isa", "avx2"},
      {"threads", 2},
      {"kv_format", "f32"},
      {"options", {{"layers", "all"}}},
      {"environment", {{"GRETA_ISA", "avx2"}}},
      {"prompts", {{{"id", "p"}, {"text", "Hi"}, {"tokens", {26843}}}}},
      {"experiments", {{{"name", "E0"}, {"force_route", "auto"}, {"force_gemm", false}}}},
      {"kernels",
       {{"k",
         {{"op", "matmul"},
          {"route", "matrix"},
          {"shape", "gemm"},
          {"weight_type", "q4_1"},
          {"activation", "q8_block32"},
          {"accumulator", "f32"},
          {"output", "f32"}}}}},
      {"time", "2026-02-03T14:05:06Z"},
      {"command_line", "greta isolate"},
      {"aligned", true},
      {"decode0_row", "other row"},
      {"complete", true}};
  BundleWriter writer(directory, false, manifest);
  Event event;
  event.cell = "E0/p";
  event.experiment = "E0";
  event.prompt_id = "p";
  event.phase = kDecode0;
  event.stage = "logits";
  event.positions = {0, 0};
  event.shape = {1, 2};
  writer.write(event, std::vector<float>{1, 2}, true);
  event.shape = {1, 0};
  writer.write(event, {}, false);
}

TEST(TraceSchema, AcceptsWhatIsWrittenAndNothingElse) {
  TempDirectory temp;
  write_sample(temp / "b");
  const int result = validate(temp / "b");
  if (result == 77) GTEST_SKIP() << "needs python3 with jsonschema";
  EXPECT_EQ(result, 0);

  const std::string events = read_file(temp / "b/events.jsonl");
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{{"\"layer\":-1", "\"layer\":-2"},
                                                        {"\"phase\":\"decode0\"", "\"phase\":7"},
                                                        {"\"tensor\":", "\"tensr\":"}}) {
    std::string broken = events;
    broken.replace(broken.find(from), from.size(), to);
    write_file(temp / "b/events.jsonl", broken);
    EXPECT_EQ(validate(temp / "b"), 1) << to;
  }
}

TEST(TraceSchema, RequiresWhatTheReaderRequires) {
  const nlohmann::json schema = nlohmann::json::parse(read_file(kSchema)).at("$defs");
  for (const char* name : {"manifest", "event"}) {
    for (const auto& field : schema.at(name).at("required")) {
      TempDirectory temp;
      write_sample(temp / "b");
      const std::string file = temp / (name == std::string("event") ? "b/events.jsonl" : "b/manifest.json");
      const std::string text = read_file(file);
      nlohmann::json json =
          nlohmann::json::parse(name == std::string("event") ? text.substr(0, text.find('\n')) : text);
      json.erase(field.get<std::string>());
      write_file(file, json.dump() + "\n");
      EXPECT_THAT(testing::message_of([&] { read_bundle(temp / "b"); }), HasSubstr(field.get<std::string>()));
    }
  }
}

TEST(TraceSchema, DescribesEveryFieldOfAnEvent) {
  const nlohmann::json schema =
      nlohmann::json::parse(read_file(kSchema)).at("$defs").at("event").at("properties");
  const std::string document = read_file(std::string(GRETA_SOURCE_DIR) + "/docs/trace-format.md");
  Event event;
  event.file = "tensors-0000.safetensors";
  event.tensor = "t";
  const nlohmann::json json = to_json(event);
  for (const auto& [field, value] : json.items()) {
    EXPECT_TRUE(schema.contains(field)) << field;
    EXPECT_THAT(document, HasSubstr("`" + field + "`"));
  }
}

}  // namespace
}  // namespace greta
