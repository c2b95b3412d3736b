// Scores recorded before their scale and before their mask.

#include "judge/raw_scores.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>

#include "engine/tiny_model.h"
#include "judge/judge.h"
#include "model/gguf.h"
#include "record/matrix.h"

namespace greta {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr float kScale = 0.25f;  // of heads of 16: a power of two, which can be taken back

bool is_scores(const Event& event) { return event.stage == name(Stage::qk); }

Bundle recorded(test::TinyEngine& tiny) {
  MatrixRequest request;
  request.experiments = parse_experiments("E0");
  request.prompts = {{"many", "", test::random_tokens(21)}};
  request.layers = {0, 1};
  return record_matrix(tiny.engine, request);
}

/// As an engine records them whose softmax scales and masks.
Bundle raw(Bundle bundle, bool says_so = true) {
  for (Event& event : bundle.events) {
    if (!is_scores(event)) continue;
    std::vector<float> values = *bundle.data(event);
    for (size_t i = 0; i < values.size(); ++i)
      values[i] = std::isinf(values[i]) ? static_cast<float>(i % 7) : values[i] / kScale;
    describe(event, values);
    bundle.store(event.hash, std::move(values));
    event.unscaled = event.unmasked = says_so;
  }
  return bundle;
}

TEST(RawScores, AreScoresAgain) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Bundle whole = recorded(tiny);
  EXPECT_EQ(with_scale_and_mask(whole, tiny.engine.model()), std::nullopt);
  const auto again = with_scale_and_mask(raw(whole), tiny.engine.model());
  ASSERT_TRUE(again);
  ASSERT_THAT(again->events, SizeIs(whole.events.size()));
  for (size_t i = 0; i < whole.events.size(); ++i)
    EXPECT_EQ(to_json(again->events[i]), to_json(whole.events[i])) << whole.events[i].stage;
}

/// Rows at positions 1, 3 and 4 of a layer with a window of 3.
TEST(RawScores, AreMaskedByTheWindowOfTheLayer) {
  const test::Bytes bytes = test::random_llama(TensorType::q4_1);
  Model model = bind_model(parse_gguf(std::as_bytes(std::span(bytes)), "random.gguf"));
  model.config.layers[1].window = 3;
  Bundle bundle;
  Event event;
  event.phase = kPrefill;
  event.layer = 1;
  event.stage = "qk";
  event.positions = {1, 3, 4};
  event.shape = {3, 1, 6};
  event.unmasked = true;
  bundle.add(event, std::vector<float>(18, 8));
  event.layer = 0;
  event.positions = {1, 1};
  event.shape = {1, 1, 3};
  event.unscaled = true;
  bundle.add(event, {8, 8, 8});
  const auto whole = with_scale_and_mask(bundle, model);
  ASSERT_TRUE(whole);
  const float hidden = -INFINITY;
  EXPECT_THAT(*whole->data(whole->events[0]),
              ElementsAre(8, 8, hidden, hidden, hidden, hidden, hidden, 8, 8, 8, hidden, hidden, hidden,
                          hidden, 8, 8, 8, hidden));
  EXPECT_THAT(*whole->data(whole->events[1]), ElementsAre(2, 2, hidden));
}

TEST(RawScores, AreJudgedAsTheyAreDeclared) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Bundle whole = recorded(tiny);
  const Verdict declared = judge(raw(whole), tiny.engine.model());
  EXPECT_THAT(declared.findings, IsEmpty());
  EXPECT_EQ(declared.status, judge(whole, tiny.engine.model()).status);
  EXPECT_EQ(declared.coverage.percent(), 100);
  const Verdict undeclared = judge(raw(whole, false), tiny.engine.model());
  EXPECT_EQ(undeclared.status, RunStatus::harness_suspect) << "what says nothing is scaled and masked";
}

/// A key that is NaN makes NaN of rows that do not see it, too: their mask is added. Softmax is not to blame.
TEST(RawScores, WhatIsNaNBehindTheMaskJudgesNothing) {
  test::TinyEngine tiny(TensorType::q4_1);
  for (const float bad : {NAN, 3e38f}) {
    Bundle bundle = raw(recorded(tiny));
    std::erase_if(bundle.events, [](const Event& event) {
      const auto at = stage_from_name(event.stage);
      return event.layer != 1 || !at || *at < Stage::v || *at > Stage::softmax;
    });
    for (Event& event : bundle.events) {
      std::vector<float> values = *bundle.data(event);
      const auto n_pos = static_cast<size_t>(event.shape.back());
      if (event.stage == name(Stage::kv_write))
        std::fill_n(values.begin() + 3 * event.shape[1], event.shape[1] / 2, bad);
      if (event.stage == name(Stage::qk))
        for (size_t i = 3; i < values.size(); i += n_pos) values[i] = std::isnan(bad) ? NAN : INFINITY;
      if (event.stage == name(Stage::softmax)) std::ranges::fill(values, NAN);
      describe(event, values);
      bundle.store(event.hash, std::move(values));
    }
    const Verdict verdict = judge(bundle, tiny.engine.model());
    for (const Finding& finding : verdict.findings) EXPECT_EQ(finding.stage, Stage::kv_write);
    EXPECT_THAT(verdict.findings, Not(IsEmpty()));
  }
}

/// A wrong raw score, and a softmax that leaves the scale out, show where they are.
TEST(RawScores, AFaultIsFoundWhereItIs) {
  test::TinyEngine tiny(TensorType::q4_1);
  const auto place_of = [&](Stage stage, auto change) {
    Bundle bundle = raw(recorded(tiny));
    std::erase_if(bundle.events, [stage](const Event& event) {
      const auto at = stage_from_name(event.stage);
      return event.layer == 1 && at && *at > stage;  // they were computed from what was right
    });
    for (Event& event : bundle.events) {
      if (event.stage != name(stage) || event.layer != 1 || event.phase != kDecode0) continue;
      std::vector<float> values = *bundle.data(event);
      change(bundle, values);
      describe(event, values);
      bundle.store(event.hash, std::move(values));
    }
    std::vector<std::string> places;
    for (const Finding& f : judge(bundle, tiny.engine.model()).findings)
      places.push_back(fmt::format("{} {} {}", name(f.phase), f.layer, name(f.stage)));
    return places;
  };
  EXPECT_THAT(place_of(Stage::softmax,
                       [](const Bundle& bundle, std::vector<float>& weights) {
                         for (const Event& event : bundle.events) {
                           if (!is_scores(event) || event.layer != 1 || event.phase != kDecode0) continue;
                           const std::vector<float>& scores = *bundle.data(event);
                           const size_t n = static_cast<size_t>(event.shape[2]);
                           for (size_t row = 0; row < scores.size(); row += n) {
                             double sum = 0;
                             for (size_t i = row; i < row + n; ++i) sum += std::exp(double{scores[i]});
                             for (size_t i = row; i < row + n; ++i)
                               weights[i] = static_cast<float>(std::exp(double{scores[i]}) / sum);
                           }
                         }
                       }),
              ElementsAre("decode 1 softmax"));
  EXPECT_THAT(place_of(Stage::qk, [](const Bundle&, std::vector<float>& scores) { scores[3] *= 1.01f; }),
              testing::Contains("decode 1 qk"));
}

TEST(RawScores, AreSaidOfScoresOnly) {
  const nlohmann::json event = {{"prompt_id", "p"},
                                {"phase", "decode0"},
                                {"layer", 0},
                                {"stage", "q"},
                                {"positions", {0, 0}},
                                {"shape", {1, 4}},
                                {"hash", std::string(32, 'a')},
                                {"unscaled", true}};
  EXPECT_THAT([&] { event_from_json(event, "here"); },
              testing::ThrowsMessage<std::exception>(HasSubstr("\"unscaled\" is said of qk only")));
  nlohmann::json scores = event;
  scores["stage"] = "qk";
  EXPECT_TRUE(event_from_json(scores, "here").unscaled);
  EXPECT_EQ(to_json(event_from_json(scores, "here")).at("unscaled"), true);
}

}  // namespace
}  // namespace greta
