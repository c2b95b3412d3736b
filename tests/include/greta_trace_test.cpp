// greta_trace.h: what is recorded is what the reader reads.

#include "greta_trace.h"

#include <clocale>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "bundle/event.h"
#include "bundle/join.h"
#include "bundle/schema_validation.h"
#include "include/recording.h"
#include "model/stage.h"

namespace greta {
namespace {

using ::testing::ElementsAre;
using testing::event_of;
using testing::plain_meta;
using testing::Recording;
using ::testing::SizeIs;

void expect_valid(const Recording& recording) {
  const int valid = testing::validate(recording.path());
  EXPECT_TRUE(valid == 0 || valid == 77) << "trace.schema.json refuses it";
}

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<float> values_of(const Bundle& bundle, size_t event) {
  const auto* data = bundle.data(bundle.events.at(event));
  return data == nullptr ? std::vector<float>{} : *data;
}

TEST(GretaTrace, WhatIsRecordedIsRead) {
  greta_trace_meta meta = plain_meta();
  meta.version = "1.2";
  meta.model_file = "m.gguf";
  meta.kv_format = "f16";
  meta.decode0_row = "zeros";
  meta.threads = 3;
  meta.shared_cache = 1;
  const Recording recording(meta);
  EXPECT_EQ(greta_trace_experiment(recording.trace(), "E0", nullptr, 0), GRETA_TRACE_OK);
  EXPECT_EQ(greta_trace_kernel(
                recording.trace(), "mul",
                "activation=f16, accumulator=f32,splits=4,slice=256, fast_math=true , angle_rounding=3e-7"),
            GRETA_TRACE_OK);
  EXPECT_EQ(recording.rows("q", {1, 2, 3, 4}, 2), GRETA_TRACE_OK);
  EXPECT_EQ(greta_trace_begin(recording.trace(), "decode0", "p", nullptr), GRETA_TRACE_OK);
  EXPECT_EQ(recording.rows("logits", {5, -6, 7}, 1, 2), GRETA_TRACE_OK);
  EXPECT_EQ(greta_trace_close(recording.trace()), GRETA_TRACE_OK);

  expect_valid(recording);
  const Bundle bundle = recording.read();
  EXPECT_THAT(bundle.notes, ElementsAre());
  EXPECT_EQ(bundle.manifest.at("engine"), "test");
  EXPECT_EQ(bundle.manifest.at("complete"), true);
  EXPECT_EQ(bundle.manifest.at("decode0_row"), "zeros");
  EXPECT_EQ(bundle.manifest.at("model"), (nlohmann::json{{"file", "m.gguf"}}));
  EXPECT_EQ(bundle.manifest.at("prompts"),
            (nlohmann::json{{{"id", "p"}, {"text", "abc"}, {"tokens", {7, 8, 9}}}}));
  EXPECT_EQ(bundle.manifest.at("kernels"), (nlohmann::json{{"mul",
                                                            {{"activation", "f16"},
                                                             {"accumulator", "f32"},
                                                             {"splits", 4},
                                                             {"slice", 256},
                                                             {"fast_math", true},
                                                             {"angle_rounding", 3e-7}}}}));
  ASSERT_THAT(bundle.events, SizeIs(2));
  const Event &q = bundle.events[0], &logits = bundle.events[1];
  EXPECT_EQ(q.cell, "E0/p");
  EXPECT_EQ(q.phase, "prefill");
  EXPECT_THAT(positions_of(q), ElementsAre(0, 1));
  EXPECT_THAT(values_of(bundle, 0), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(logits.layer, kNoLayer);
  EXPECT_EQ(logits.phase, "decode0");
  EXPECT_EQ(logits.summary.min, -6);
  EXPECT_THAT(values_of(bundle, 1), ElementsAre(5, -6, 7));
}

/// The last prompt token's row of prefill is prefill_last; the cache is both.
TEST(GretaTrace, PrefillLastComesByItself) {
  const Recording recording;
  EXPECT_EQ(recording.rows("v", {1, 2, 3}, 3), GRETA_TRACE_OK);
  EXPECT_EQ(recording.rows("logits", {4, 5}, 1, 2), GRETA_TRACE_OK);
  EXPECT_EQ(recording.rows("kv_write", {1, 2, 3, 4, 5, 6}, 3), GRETA_TRACE_OK);
  const Bundle bundle = recording.read();
  ASSERT_THAT(bundle.events, SizeIs(6));
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(bundle.events[i].phase, i % 2 == 0 ? "prefill" : "prefill_last");
  EXPECT_THAT(positions_of(bundle.events[1]), ElementsAre(2));
  EXPECT_THAT(values_of(bundle, 1), ElementsAre(3));
  EXPECT_THAT(values_of(bundle, 3), ElementsAre(4, 5));
  EXPECT_THAT(positions_of(bundle.events[5]), ElementsAre(0, 1, 2));
  EXPECT_EQ(bundle.events[4].tensor, bundle.events[5].tensor);
}

TEST(GretaTrace, ShapesAndStridesAsTheEngineHasThem) {
  const Recording recording;
  const std::vector<float> matrix{1, 2, 3, 4, 5, 6};
  greta_trace_event event = event_of("q", matrix, 2);
  const int64_t transposed[] = {1, 2};  // column-major [2, 3]
  event.strides = transposed;
  EXPECT_EQ(greta_trace_stage(recording.trace(), &event), GRETA_TRACE_OK) << greta_trace_error();

  const std::vector<float> by_head{1, 2, 3, 4, 5, 6, 7, 8};  // [head 2, row 2, position 2]
  event = event_of("qk", by_head, 2);
  const int64_t strides[] = {2, 4, 1};
  event.shape[1] = event.shape[2] = 2;
  event.strides = strides;
  EXPECT_EQ(greta_trace_stage(recording.trace(), &event), GRETA_TRACE_OK) << greta_trace_error();

  const std::vector<float> keys{1, 2, 3, 4}, values{5, 6, 7, 8};  // values as [dim, position]
  event = event_of("kv_write", keys, 2);
  event.values = values.data();
  event.value_strides = transposed;
  EXPECT_EQ(greta_trace_stage(recording.trace(), &event), GRETA_TRACE_OK) << greta_trace_error();

  const Bundle bundle = recording.read();
  ASSERT_THAT(bundle.events, SizeIs(3));
  EXPECT_THAT(values_of(bundle, 0), ElementsAre(1, 3, 5, 2, 4, 6));
  EXPECT_THAT(bundle.events[1].shape, ElementsAre(2, 2, 2));
  EXPECT_THAT(values_of(bundle, 1), ElementsAre(1, 2, 5, 6, 3, 4, 7, 8));
  EXPECT_THAT(bundle.events[2].shape, ElementsAre(2, 4));
  EXPECT_THAT(values_of(bundle, 2), ElementsAre(1, 2, 5, 7, 3, 4, 6, 8));
}

TEST(GretaTrace, EveryTypeOfValues) {
  const Recording recording;
  const uint16_t f16[] = {0x3c00, 0xc000, 0x7c00, 0x0001}, bf16[] = {0x3f80, 0xc000, 0x7fc0, 0x8000};
  const double f64[] = {0.5, -1e300};
  const int64_t i64[] = {-5};
  const int32_t i32[] = {-4};
  const int16_t i16[] = {-3};
  const int8_t i8[] = {-2};
  const uint8_t u8[] = {255};
  const auto record = [&](const char* stage, const void* data, greta_trace_dtype dtype, int64_t width) {
    EXPECT_EQ(greta_trace_rows(recording.trace(), stage, 0, data, dtype, 1, width, 0), GRETA_TRACE_OK);
  };
  record("q", f16, GRETA_TRACE_F16, 4);
  record("k", bf16, GRETA_TRACE_BF16, 4);
  record("v", f64, GRETA_TRACE_F64, 2);
  record("gate", i64, GRETA_TRACE_I64, 1);
  record("up", i32, GRETA_TRACE_I32, 1);
  record("act", i16, GRETA_TRACE_I16, 1);
  record("down", i8, GRETA_TRACE_I8, 1);
  record("x_out", u8, GRETA_TRACE_U8, 1);
  const Bundle bundle = recording.read();
  ASSERT_THAT(bundle.events, SizeIs(8));
  EXPECT_THAT(values_of(bundle, 0), ElementsAre(1, -2, kInf, std::ldexp(1.0f, -24)));
  EXPECT_THAT(values_of(bundle, 2), ElementsAre(0.5, -kInf));
  const std::vector<std::string> dtypes{"f16", "bf16", "f64", "i64", "i32", "i16", "i8", "u8"};
  const std::vector<float> integers{-5, -4, -3, -2, 255};
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(bundle.events[i].dtype, dtypes[i]);
    if (i < 3) continue;
    EXPECT_THAT(values_of(bundle, i), ElementsAre(integers[i - 3])) << dtypes[i];
  }
  // The statistics as they were written, which the reader makes again.
  const std::string events = testing::read_file(recording.path() + "/events.jsonl");
  const auto first = nlohmann::json::parse(events.substr(0, events.find('\n')));
  EXPECT_EQ(first.at("min"), -2);
  EXPECT_EQ(first.at("max"), 1);
  EXPECT_EQ(first.at("inf"), 1);
  EXPECT_NEAR(first.at("mean").get<double>(), -1.0 / 3, 1e-6);
  EXPECT_NEAR(first.at("rms").get<double>(), std::sqrt(5.0 / 3), 1e-6);
}

TEST(GretaTrace, ChunksAreOneAndTheSameRowsOnce) {
  const Recording recording;
  EXPECT_EQ(recording.rows("q", {1, 2}, 2, 0), GRETA_TRACE_OK);
  EXPECT_EQ(recording.rows("q", {2}, 1, 1), GRETA_TRACE_OK) << "equal: nothing to add";
  EXPECT_EQ(recording.rows("q", {3}, 1, 2), GRETA_TRACE_OK);
  EXPECT_EQ(recording.rows("q", {4}, 1, 1), GRETA_TRACE_E_TWICE);
  EXPECT_EQ(recording.rows("q", {4, 4}, 1, 3), GRETA_TRACE_E_TWICE) << "another width";
  const Bundle bundle = joined(recording.read());
  ASSERT_THAT(bundle.events, SizeIs(2));  // and prefill_last
  EXPECT_THAT(values_of(bundle, 0), ElementsAre(1, 2, 3));
}

TEST(GretaTrace, PositionsThatAreNoRun) {
  const Recording recording;
  const std::vector<float> values{1, 2, 3};
  const int64_t positions[] = {0, 4, 9};
  greta_trace_event event = event_of("q", values, 3);
  event.positions = positions;
  EXPECT_EQ(greta_trace_stage(recording.trace(), &event), GRETA_TRACE_OK);
  event.stage = "k";
  event.shape[0] = 2;
  EXPECT_EQ(greta_trace_stage(recording.trace(), &event), GRETA_TRACE_E_SHAPE) << "they would be a run";
  const Bundle bundle = recording.read();
  ASSERT_THAT(bundle.events, SizeIs(1));
  EXPECT_THAT(positions_of(bundle.events[0]), ElementsAre(0, 4, 9));
}

/// Memory that only the copy function can read: here bytes turned over.
struct Device {
  int calls = 0;
  bool broken = false;
  static int copy(void* user, void* host, const void* from, size_t bytes) {
    auto& device = *static_cast<Device*>(user);
    ++device.calls;
    for (size_t i = 0; i < bytes; ++i)
      static_cast<uint8_t*>(host)[i] = static_cast<uint8_t>(~static_cast<const uint8_t*>(from)[i]);
    return device.broken ? 1 : 0;
  }
};

TEST(GretaTrace, DeviceMemoryComesByTheCopyFunction) {
  Device device;
  greta_trace_meta meta = plain_meta();
  meta.copy = Device::copy;
  meta.copy_user = &device;
  const Recording recording(meta);
  std::vector<float> values(64), there(64);
  for (size_t i = 0; i < 64; ++i) values[i] = static_cast<float>(i);
  Device::copy(&device, there.data(), values.data(), 64 * sizeof(float));
  device.calls = 0;

  EXPECT_EQ(recording.rows("q", there, 2), GRETA_TRACE_OK);
  EXPECT_EQ(device.calls, 1) << "dense: at once";
  const int64_t far[] = {32, 1}, near[] = {1, 2};
  greta_trace_event event = event_of("k", there, 1);
  event.shape[0] = event.shape[1] = 2;
  event.strides = far;
  EXPECT_EQ(greta_trace_stage(recording.trace(), &event), GRETA_TRACE_OK);
  EXPECT_EQ(device.calls, 3) << "far apart: a row each";
  event.stage = "v";
  event.strides = near;
  EXPECT_EQ(greta_trace_stage(recording.trace(), &event), GRETA_TRACE_OK);
  EXPECT_EQ(device.calls, 4);
  event = event_of("gate", values, 2);
  event.flags = GRETA_TRACE_HOST;
  EXPECT_EQ(greta_trace_stage(recording.trace(), &event), GRETA_TRACE_OK);
  EXPECT_EQ(device.calls, 4);
  device.broken = true;
  EXPECT_EQ(recording.rows("up", there, 2), GRETA_TRACE_E_COPY);

  const Bundle bundle = recording.read();
  ASSERT_THAT(bundle.events, SizeIs(4));
  EXPECT_EQ(values_of(bundle, 0), values);
  EXPECT_THAT(values_of(bundle, 1), ElementsAre(0, 1, 32, 33));
  EXPECT_THAT(values_of(bundle, 2), ElementsAre(0, 2, 1, 3));
  EXPECT_EQ(values_of(bundle, 3), values);
}

TEST(GretaTrace, NanAndInfinityAreCounted) {
  const Recording recording;
  EXPECT_EQ(recording.rows("q", {kNan, kInf, -kInf, 2}, 1), GRETA_TRACE_OK);
  EXPECT_EQ(recording.rows("k", {kNan, kNan}, 1), GRETA_TRACE_OK);
  const Bundle bundle = recording.read();
  ASSERT_THAT(bundle.events, SizeIs(2));
  EXPECT_EQ(bundle.events[0].summary.nan, 1);
  EXPECT_EQ(bundle.events[0].summary.inf, 2);
  EXPECT_EQ(bundle.events[0].summary.max, 2);
}

/// Numbers are JSON's, whatever the program's language writes them with.
TEST(GretaTrace, NumbersDoNotFollowTheLocale) {
  const std::string before = std::setlocale(LC_NUMERIC, nullptr);
  bool changed = false;
  for (const char* name : {"de_DE.UTF-8", "es_ES.UTF-8", "fr_FR.UTF-8"})
    changed = changed || std::setlocale(LC_NUMERIC, name) != nullptr;
  if (!changed) GTEST_SKIP() << "needs a locale with a decimal comma";
  const Recording recording;
  const int code = recording.rows("q", {0.25, 1e-10f}, 1);
  std::setlocale(LC_NUMERIC, before.c_str());
  EXPECT_EQ(code, GRETA_TRACE_OK);
  EXPECT_THAT(recording.read().events, SizeIs(1));
}

TEST(GretaTrace, TextsAreEscaped) {
  greta_trace_meta meta = plain_meta();
  meta.engine = "e\"\\\x01\n\x7f\xc3\xa9\xf0\x9f\x98\x80";
  meta.version = "\xff|\xc3|\xc0\x80|\xed\xa0\x80|\xf5\x80\x80\x80|\xe2\x82";
  const Recording recording(meta);
  const std::string id = "id \"\t/..\\\xc3\xa9";
  EXPECT_EQ(greta_trace_prompt(recording.trace(), id.c_str(), "\xfe", nullptr, 0), GRETA_TRACE_OK);
  EXPECT_EQ(greta_trace_begin(recording.trace(), "prefill", id.c_str(), "E\n1"), GRETA_TRACE_OK);
  EXPECT_EQ(greta_trace_kernel(recording.trace(), "k\r", "note=\"\\\x02\xff"), GRETA_TRACE_OK);
  const std::vector<float> values{1};
  greta_trace_event event = event_of("q", values, 1);
  event.kernel = "k\r";
  EXPECT_EQ(greta_trace_stage(recording.trace(), &event), GRETA_TRACE_OK);
  expect_valid(recording);
  const Bundle bundle = recording.read();
  EXPECT_EQ(bundle.manifest.at("engine"), meta.engine);
  const std::string bad = "\xef\xbf\xbd";
  EXPECT_EQ(bundle.manifest.at("version"), bad + "|" + bad + "|" + bad + bad + "|" + bad + bad + bad + "|" +
                                               bad + bad + bad + bad + "|" + bad + bad);
  EXPECT_EQ(bundle.manifest.at("kernels").at("k\r").at("note"), "\"\\\x02" + bad);
  ASSERT_THAT(bundle.events, SizeIs(1));
  EXPECT_EQ(bundle.events[0].prompt_id, id);
  EXPECT_EQ(bundle.events[0].cell, "E\n1/" + id);
  EXPECT_EQ(bundle.events[0].kernel, "k\r");
  EXPECT_THAT(values_of(bundle, 0), ElementsAre(1));
}

TEST(GretaTrace, KnowsAllStages) {
  const Recording recording;
  for (const StageInfo& stage : kStageTable) {
    const std::vector<float> values{1};
    const std::string name(stage.name);
    greta_trace_event event = event_of(name.c_str(), values, 1);
    if (stage.row_per == RowPer::token_head) event.shape[2] = 1;
    EXPECT_EQ(greta_trace_stage(recording.trace(), &event), GRETA_TRACE_OK) << greta_trace_error();
  }
  const Bundle bundle = recording.read();
  ASSERT_THAT(bundle.events, SizeIs(kStageCount));
  for (size_t i = 0; i < kStageTable.size(); ++i)
    EXPECT_EQ(bundle.events[i].layer, is_outside_layers(kStageTable[i].stage) ? kNoLayer : 0);
}

TEST(GretaTrace, SeveralTracesAtOnce) {
  const Recording one, other;
  EXPECT_EQ(one.rows("q", {1}, 1), GRETA_TRACE_OK);
  EXPECT_EQ(other.rows("q", {2}, 1), GRETA_TRACE_OK);
  EXPECT_THAT(values_of(one.read(), 0), ElementsAre(1));
  EXPECT_THAT(values_of(other.read(), 0), ElementsAre(2));
}

}  // namespace
}  // namespace greta
