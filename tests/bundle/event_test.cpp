#include "bundle/event.h"

#include <nlohmann/json.hpp>

#include "bundle/bundle_files.h"
#include "io/json_fields.h"
#include "io/testing.h"

namespace greta {
namespace {

using ::testing::HasSubstr;
using testing::message_of;

Event sample() {
  Event event;
  event.cell = "E1/p4_sys";
  event.experiment = "E1";
  event.prompt_id = "p4_sys";
  event.phase = kDecode0;
  event.layer = 3;
  event.stage = "q";
  event.positions = {23, 23};
  event.shape = {1, 4};
  event.route = "vector";
  event.kernel = "cpu.avx2.gemv.q4_1";
  event.launches = 7;
  event.hash = "00112233445566778899aabbccddeeff";
  event.summary = {-1.5, 2, 0.25, 1.25, 1, 2, 4};
  event.operands = {{"attn_norm", "ffeeddccbbaa99887766554433221100", "q8_block32"}};
  return event;
}

const char* const kMinimal =
    R"({"prompt_id":"p","phase":"decode0","layer":0,"stage":"q","positions":[3,3],"shape":[1,2],)"
    R"("hash":"00112233445566778899aabbccddeeff"})";

TEST(Event, SurvivesJson) {
  const Event event = sample();
  const Event back = event_from_json(to_json(event), "x");
  EXPECT_EQ(to_json(back), to_json(event));
  EXPECT_EQ(back.summary.count, 4);
  EXPECT_EQ(back.launches, 7u);
}

TEST(Event, HasTheFieldsThatScriptsRelyOn) {
  Event event = sample();
  event.file = "tensors-0000.safetensors";
  event.tensor = "E1/p4_sys/decode0/L3.q";
  const nlohmann::json json = to_json(event);
  for (const char* field : {"cell",  "experiment", "prompt_id", "phase",  "layer",    "stage", "positions",
                            "shape", "dtype",      "route",     "kernel", "launches", "hash",  "min",
                            "max",   "mean",       "rms",       "nan",    "inf",      "file",  "tensor"}) {
    EXPECT_TRUE(json.contains(field)) << field;
  }
}

TEST(Event, OfAnotherEngineMayBeShort) {
  const Event event = event_from_json(nlohmann::json::parse(kMinimal), "x");
  EXPECT_EQ(event.experiment, "E0");
  EXPECT_EQ(event.cell, "E0/p");
  EXPECT_EQ(event.dtype, "f32");
  EXPECT_EQ(event.route, "");
  EXPECT_EQ(event.summary.count, 2);
}

TEST(Event, IgnoresFieldsItDoesNotKnow) {
  nlohmann::json json = nlohmann::json::parse(kMinimal);
  json["temperature"] = {1, 2, 3};
  EXPECT_NO_THROW(event_from_json(json, "x"));
}

struct Mistake {
  const char* field;
  nlohmann::json value;
};

void PrintTo(const Mistake& mistake, std::ostream* out) { *out << mistake.field << " = " << mistake.value; }

class BrokenEvent : public ::testing::TestWithParam<Mistake> {};

TEST_P(BrokenEvent, NamesPlaceAndField) {
  nlohmann::json json = nlohmann::json::parse(kMinimal);
  json[GetParam().field] = GetParam().value;
  const std::string message = message_of([&] { event_from_json(json, "events.jsonl:12"); });
  const std::string blamed = GetParam().field == std::string("file") ? "tensor" : GetParam().field;
  EXPECT_THAT(message, HasSubstr("events.jsonl:12: field \"" + blamed + "\""));
}

INSTANTIATE_TEST_SUITE_P(
    , BrokenEvent,
    ::testing::Values(Mistake{"phase", nullptr}, Mistake{"phase", 3}, Mistake{"stage", ""},
                      Mistake{"layer", "0"}, Mistake{"layer", -2}, Mistake{"layer", 1.5},
                      Mistake{"layer", 18446744073709551615u}, Mistake{"prompt_id", nullptr},
                      Mistake{"positions", 3}, Mistake{"positions", nlohmann::json::array()},
                      Mistake{"positions", {5, 3}}, Mistake{"positions", {-1}}, Mistake{"shape", {1, -2}},
                      Mistake{"shape", {1, "2"}}, Mistake{"shape", {1ll << 40, 1ll << 40}},
                      Mistake{"dtype", "float32"}, Mistake{"hash", "xyz"}, Mistake{"hash", nullptr},
                      Mistake{"min", "0"}, Mistake{"nan", -1}, Mistake{"launches", -1},
                      Mistake{"file", "without-a-tensor.safetensors"}, Mistake{"route", 1},
                      Mistake{"operands", "attn_norm"}, Mistake{"operands", {"attn_norm"}}),
    [](const auto& test) { return std::string(test.param.field) + "_" + std::to_string(test.index); });

TEST(Event, AnOperandHasAStageAndAHash) {
  const nlohmann::json right = {{"stage", "x_in"}, {"hash", "00112233445566778899aabbccddeeff"}};
  for (const char* field : {"stage", "hash"}) {
    nlohmann::json json = nlohmann::json::parse(kMinimal);
    json["operands"] = {right};
    EXPECT_EQ(event_from_json(json, "x").operands.size(), 1u);
    json["operands"][0].erase(field);
    EXPECT_THAT(message_of([&] { event_from_json(json, "e:3"); }),
                HasSubstr(fmt::format("e:3: operands: field \"{}\"", field)));
  }
}

TEST(Event, FileMustStayInTheBundle) {
  for (const char* file : {"../x.safetensors", "/etc/x.safetensors", "a\\b.safetensors", "passwd"}) {
    nlohmann::json json = nlohmann::json::parse(kMinimal);
    json["file"] = file;
    json["tensor"] = "t";
    EXPECT_THAT(message_of([&] { event_from_json(json, "x"); }), HasSubstr("field \"file\"")) << file;
  }
}

TEST(ParseEvents, CutsAnUnfinishedLineOff) {
  const std::string text =
      std::string(kMinimal) + "\n\n" + std::string(kMinimal) + "\r\n" + std::string(kMinimal);
  std::vector<std::string> notes;
  EXPECT_EQ(parse_events(text, "e", notes).size(), 3u);  // a last line may lack its newline
  EXPECT_TRUE(notes.empty());
  const size_t last_line = text.rfind('\n') + 1;
  for (size_t end = last_line + 1; end < text.size(); ++end) {
    notes.clear();
    EXPECT_EQ(parse_events(text.substr(0, end), "e", notes).size(), 2u) << end;
    ASSERT_EQ(notes.size(), 1u) << end;
    EXPECT_EQ(notes[0], "events.jsonl ends in the middle of line 4");
  }
}

TEST(ParseEvents, ABrokenLineInTheMiddleIsAnError) {
  std::vector<std::string> notes;
  const std::string text = std::string(kMinimal) + "\n{\"a\":\n" + std::string(kMinimal) + "\n";
  EXPECT_THAT(message_of([&] { parse_events(text, "d/events.jsonl", notes); }),
              HasSubstr("d/events.jsonl:2: not valid JSON"));
}

TEST(ParseJson, RefusesWhatConfuses) {
  EXPECT_THAT(message_of([] { parse_json(R"({"a":1,"a":2})", "x"); }), HasSubstr("\"a\" occurs twice"));
  EXPECT_THAT(message_of([] { parse_json(std::string(100000, '['), "x"); }), HasSubstr("deeper"));
  EXPECT_THAT(message_of([] { parse_json("{\"a\":NaN}", "x"); }), HasSubstr("x: not valid JSON"));
  EXPECT_THAT(message_of([] { parse_json("{\"a\":1e999}", "x"); }), HasSubstr("x: not valid JSON"));
  EXPECT_THAT(message_of([] { parse_json("\"\xff\"", "x"); }), HasSubstr("x: not valid JSON"));
  EXPECT_EQ(parse_json(R"([{"a":1},{"a":{"a":2}}])", "x").size(), 2u);
}

}  // namespace
}  // namespace greta
