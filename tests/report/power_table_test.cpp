#include "report/power_table.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "base/error.h"

namespace greta::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Property;
using ::testing::Throws;

/// One right, one ambiguous, one inactive fault; a stack, a clean run and a limit of one route.
PowerResult sample_power() {
  Detection right;
  right.fault = "attn_norm_eps@prefill:3";
  right.fault_class = right.expected = "norm_eps";
  right.acts = right.found = right.right_place = right.right_phase = true;
  right.naming = Naming::right;
  right.named = "norm_eps";
  right.explained_residual = 0.9999999;
  right.noise_ratio = INFINITY;
  Detection rivals = right;
  rivals.fault = "kv_slot_next@decode:20";
  rivals.fault_class = "kv_slot";
  rivals.expected = "kv_slot";
  rivals.naming = Naming::among;
  rivals.named = "kv_slot or kv_not_written_by_a_name_that_is_long_enough_for_another_line";
  Detection inactive = right;
  inactive.acts = false;
  PowerResult result;
  result.model = "model";
  result.singles = {right, rivals, inactive};
  result.stacks = {{.faults = {right, right}}};
  result.clean = {{.prompt = "p0_short", .status = RunStatus::equal, .noisiest = "q"}};
  result.limits = {{"softmax_scale", Phase::decode, 29, "matrix", 1.25e-5},
                   {"softmax_scale", Phase::decode, 29, "vector", {}}};
  return result;
}

TEST(PowerTable, FitsTheTerminal) {
  const std::string text = power_terminal(sample_power());
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  EXPECT_THAT(text, HasSubstr("0.99999 ")) << "cut, not rounded up to 1";
  EXPECT_THAT(text, HasSubstr("- kv_slot_next@decode:20: kv_slot or"));
  EXPECT_THAT(text, HasSubstr("attn_norm_eps@prefill:3: not counted"));
  EXPECT_THAT(text, HasSubstr("1/2 = 50.0 %      >= 97 %  FAILS"));
  EXPECT_THAT(text, HasSubstr("softmax_scale   decode      29      1.3e-05  not flagged"));
}

TEST(PowerTable, JsonCountsEachResult) {
  const nlohmann::json json = power_json(sample_power());
  EXPECT_EQ(json["summary"]["right"], 1);
  EXPECT_EQ(json["summary"]["ambiguous"], 1);
  EXPECT_EQ(json["summary"]["inactive"], 1);
  EXPECT_EQ(json["summary"]["wrong"], 0);
  EXPECT_EQ(json["summary"]["holds"], false);
  EXPECT_EQ(json["faults"].size(), 3u);
  EXPECT_EQ(json["faults"][0]["noise_ratio"], "inf") << "infinity is no JSON number";
  EXPECT_TRUE(json["weakest"][1]["size"].is_null());
}

TEST(PowerTable, MarkdownKeepsWhatIsAroundTheMarks) {
  const std::string measured = power_markdown(sample_power());
  EXPECT_THAT(measured, HasSubstr("| kv_slot | 1 | 1 | 1 | 1 | 0 | 1 | 0 | - |"));
  const std::string fresh = with_measured("", measured, "power.md");
  const std::string again = with_measured("before\n" + fresh + "after\n", "new\n", "power.md");
  EXPECT_THAT(again, ::testing::StartsWith("before\n"));
  EXPECT_THAT(again, ::testing::EndsWith("-->\nnew\n" + std::string(kPowerEnd) + "\nafter\n"));
  EXPECT_THAT(again, Not(HasSubstr("kv_slot")));
  EXPECT_THAT([] { with_measured("text\n", "new\n", "power.md"); },
              Throws<Error>(Property(&Error::what, HasSubstr("power.md: the file exists and has no lines"))));
}

}  // namespace
}  // namespace greta::report
