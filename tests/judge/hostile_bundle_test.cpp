// Bundles that no engine writes: claims that do not fit the data, data that fit nothing. judge() must skip
// them and say why.

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "base/error.h"
#include "bundle/bundle_files.h"
#include "judge/hypotheses/plain_llama.h"
#include "judge/judge.h"

namespace greta {
namespace {

using testing::HasSubstr;

using enum Stage;

/// A bundle of one clean prompt, for spoiling.
const Bundle& clean() {
  static const Bundle bundle = test::plain_llama().record({}, {test::random_tokens(9)});
  return bundle;
}

Event* event_at(Bundle& bundle, Stage stage, const std::string& phase) {
  for (Event& event : bundle.events) {
    if (event.stage == name(stage) && event.phase == phase && event.layer <= 0) return &event;
  }
  return nullptr;
}

/// Puts other data into an event.
void put(Bundle& bundle, Event& event, std::vector<float> values) {
  event.hash = fmt::format("{:032x}", bundle.tensors.size() + 1);
  bundle.store(event.hash, std::move(values));
}

/// judge() on what no engine writes: a verdict or an input Error, in bounded time and memory.
void expect_survives(const Bundle& bundle, const std::string& what) {
  try {
    const Verdict verdict = judge(bundle, test::plain_llama().model());
    for (const std::string& skipped : verdict.coverage.skipped) EXPECT_THAT(skipped, HasSubstr(": ")) << what;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input) << what << ": " << error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << what << ": " << error.what();
  }
}

struct Spoil {
  const char* label;
  std::function<void(Bundle& bundle, Event& event)> spoil;
};

std::vector<Spoil> spoils() {
  using B = Bundle&;
  using E = Event&;
  constexpr int64_t kHuge = int64_t{1} << 48;
  const auto filled = [](float value) {
    return [value](B b, E e) { put(b, e, std::vector<float>(b.data(e)->size(), value)); };
  };
  return {
      {"no shape", [](B, E e) { e.shape.clear(); }},
      {"a huge shape",
       [](B, E e) {
         e.shape = {1, 1, kHuge};
       }},
      {"shape 0", [](B, E e) { e.shape.assign(e.shape.size(), 0); }},
      {"too few values", [](B b, E e) { put(b, e, std::vector<float>(3, 1.0f)); }},
      {"no values", [](B b, E e) { put(b, e, {}); }},
      {"no data", [](B, E e) { e.hash = "00000000000000000000000000000bad"; }},
      {"one row too many",
       [](B b, E e) {
         std::vector<float> more = *b.data(e);
         more.resize(more.size() + 64, 0.5f);
         put(b, e, more);
       }},
      {"no positions", [](B, E e) { e.positions.clear(); }},
      {"huge positions",
       [](B, E e) {
         e.positions = {kHuge, kHuge};
       }},
      {"a huge range",
       [](B, E e) {
         e.positions = {0, 1 << 23};
       }},
      {"a far position",
       [](B, E e) {
         e.positions = {int64_t{1} << 33, int64_t{1} << 33};
       }},
      {"a list with a hole",
       [](B, E e) {
         e.positions = {0, 5, 7};
       }},
      {"positions twice", [](B, E e) { e.positions = {2, 2, 2, 2, 2, 2, 2, 2, 2}; }},
      {"positions backwards", [](B, E e) { e.positions = {8, 7, 6, 5, 4, 3, 2, 1, 0}; }},
      {"negative positions",
       [](B, E e) {
         e.positions = {-3, -2, -1};
       }},
      {"past the prompt",
       [](B, E e) {
         e.positions = {100, 108};
       }},
      {"NaN", filled(NAN)},
      {"infinity", filled(INFINITY)},
      {"minus infinity", filled(-INFINITY)},
      {"huge values", filled(3e38f)},
      {"zero", filled(0)},
      {"a layer that is not", [](B, E e) { e.layer = 77; }},
      {"another dtype", [](B, E e) { e.dtype = "q8_block32"; }},
  };
}

std::vector<Stage> recorded_stages() {
  std::vector<Stage> stages;
  for (int i = 0; i < kStageCount; ++i) {
    const Stage stage = static_cast<Stage>(i);
    if (!few_have(stage)) stages.push_back(stage);
  }
  return stages;
}

TEST(HostileBundle, OneSpoiltEventIsNoCrash) {
  for (const Spoil& spoil : spoils()) {
    for (const Stage stage : recorded_stages()) {
      for (const char* phase : {kPrefill, kPrefillLast, kDecode0}) {
        Bundle bundle = clean();
        Event* event = event_at(bundle, stage, phase);
        if (event == nullptr) continue;
        spoil.spoil(bundle, *event);
        expect_survives(bundle, fmt::format("{} of {}: {}", name(stage), phase, spoil.label));
      }
    }
  }
}

TEST(HostileBundle, AStageSpoiltEverywhereIsNoCrash) {
  for (const Spoil& spoil : spoils()) {
    for (const Stage stage : recorded_stages()) {
      Bundle bundle = clean();
      for (Event& event : bundle.events) {
        if (event.stage == name(stage)) spoil.spoil(bundle, event);
      }
      expect_survives(bundle, fmt::format("all {}: {}", name(stage), spoil.label));
    }
  }
}

TEST(HostileBundle, ASpoiltEventBehindAGapIsNoCrash) {
  for (const Spoil& spoil : spoils()) {
    for (const Stage stage : {k_rope, kv_write, qk, softmax}) {
      Bundle bundle = clean();
      for (Event& event : bundle.events) {
        if (event.stage == name(stage)) spoil.spoil(bundle, event);
      }
      std::erase_if(bundle.events, [&](const Event& event) {
        return event.stage == name(stage == softmax ? kv_write : softmax) || event.stage == name(k);
      });
      expect_survives(bundle, fmt::format("gap at {}: {}", name(stage), spoil.label));
    }
  }
}

/// The bundle as its files would be read.
Bundle read_back(const Bundle& bundle) {
  const std::string manifest = bundle.manifest.dump();
  std::string events;
  for (const Event& event : bundle.events) events += to_json(event).dump() + "\n";
  Bundle read =
      parse_bundle("bundle", [&](const std::string& name) -> std::optional<std::span<const std::byte>> {
        return std::as_bytes(std::span(name == kManifestFile ? manifest : events));
      });
  read.tensors = bundle.tensors;
  return read;
}

TEST(HostileBundle, AManifestOfOtherKindsIsAnInputError) {
  const std::vector<std::pair<const char*, nlohmann::json>> fields = {
      {"prompts", 7},
      {"prompts", {1, 2}},
      {"prompts", {{{"id", "p0"}, {"tokens", "many"}}}},
      {"prompts", {{{"id", "p0"}, {"tokens", {99999, -4, 1, 2, 3, 4, 5, 6, 7}}}}},
      {"prompts", {{{"id", "p0"}, {"tokens", {99999, 4, 1, 2, 3, 4, 5, 6, 7}}}}},
      {"experiments", "E0"},
      {"experiments", {3}},
      {"kernels", {{"plain", 5}}},
      {"kernels", "none"},
      {"kernels", {{"plain", {{"sum_lanes", "x"}}}}},
      {"kernels", {{"plain", {{"sum_lanes", -3}}}}},
      {"kernels", {{"plain", {{"angle_rounding", "x"}}}}},
      {"kernels", {{"plain", {{"angle_rounding", -1e300}}}}},
      {"aligned", "yes"},
      {"shared_cache", 2},
      {"kv_format", {1, 2}},
  };
  for (const auto& [key, value] : fields) {
    Bundle bundle = clean();
    bundle.manifest["engine"] = "plain";
    bundle.manifest[key] = value;
    const std::string what = fmt::format("{}: {}", key, value.dump());
    try {
      expect_survives(read_back(bundle), what);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input) << what << ": " << error.what();
      EXPECT_THAT(error.what(), HasSubstr(key)) << what;
    }
  }
}

TEST(HostileBundle, WhatIsSkippedSaysWhy) {
  Bundle bundle = clean();
  for (Event& event : bundle.events) {
    if (event.stage == name(q)) event.positions = {int64_t{1} << 40, int64_t{1} << 40};
  }
  const Verdict verdict = judge(bundle, test::plain_llama().model());
  EXPECT_TRUE(verdict.findings.empty());
  EXPECT_EQ(verdict.status, RunStatus::inconclusive);
  EXPECT_THAT(verdict.coverage.skipped,
              testing::Contains(HasSubstr("do not fit the model and its positions")));
}

}  // namespace
}  // namespace greta
