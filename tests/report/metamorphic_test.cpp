#include "report/metamorphic.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace greta::report {
namespace {

std::vector<MetamorphicCheck> sample_checks() {
  const Deviation where{.phase = "decode",
                        .length = 16,
                        .layer = 1,
                        .position = 12,
                        .what = "value",
                        .element = 7,
                        .expected = 0.5f,
                        .observed = 0.25f};
  return {{"prefill_equals_decode", "a row is what a step computes", {{"1"}, {"15", where}, {"16", where}}},
          {"fused_attention", "fused = apart", {}, "these plans have none"},
          {"thread_counts", "threads change nothing", {{"1"}, {"3"}}}};
}

TEST(MetamorphicReport, SaysOfWhatFailedWhere) {
  EXPECT_EQ(to_terminal(metamorphic_report(sample_checks()), 80, false),
            "result  check                  cases  what must hold, bit for bit\n"
            "FAILED  prefill_equals_decode    1/3  a row is what a step computes\n"
            "        fails: 15, 16\n"
            "        holds: 1\n"
            "        first: layer 1, position 12, value[7] (16 tokens)\n"
            "               0.25, expected 0.5\n"
            "n/a     fused_attention               fused = apart\n"
            "        note: these plans have none\n"
            "passed  thread_counts            2/2  threads change nothing\n"
            "1 passed, 1 failed, 1 not applicable\n");
}

TEST(MetamorphicReport, JsonSaysWhere) {
  const nlohmann::json json = metamorphic_json(sample_checks());
  EXPECT_EQ(json["passed"], 1);
  EXPECT_EQ(json["failed"], 1);
  EXPECT_EQ(json["not_applicable"], 1);
  const nlohmann::json& check = json["checks"][0];
  EXPECT_EQ(check["name"], "prefill_equals_decode");
  EXPECT_EQ(check["result"], "failed");
  EXPECT_EQ(check["cases"].size(), 3u);
  EXPECT_EQ(check["cases"][0]["passed"], true);
  EXPECT_EQ(check["where"]["layer"], 1);
  EXPECT_EQ(check["where"]["what"], "value");
  EXPECT_EQ(check["where"]["text"], "layer 1, position 12, value[7] (16 tokens): 0.25, expected 0.5");
  EXPECT_EQ(json["checks"][1]["result"], "not_applicable");
  EXPECT_EQ(json["checks"][2]["where"], nullptr);
}

}  // namespace
}  // namespace greta::report
