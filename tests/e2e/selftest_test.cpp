// The checks that need no reference, and the probe of the weights' layout, on the real model.

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "e2e/program.h"
#include "model/model_files.h"

namespace greta {
namespace {

using test::run_greta;
using ::testing::HasSubstr;
using ::testing::Not;

class SelftestSmolLM2 : public ::testing::Test {
 protected:
  void SetUp() override { GRETA_SKIP_WITHOUT("smollm2"); }

  std::string model_ = test::model_path("smollm2");
  test::Scratch scratch_;
};

TEST_F(SelftestSmolLM2, CleanEnginePassesAllChecks) {
  const test::Outcome outcome = run_greta({"selftest", "--metamorphic", "-m", model_});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("9 passed, 0 failed, 0 not applicable"));
}

TEST_F(SelftestSmolLM2, FaultInPrefillFails) {
  const test::Outcome outcome = run_greta(
      {"selftest", "--metamorphic", "-m", model_, "--json", "--inject", "wq_column_major@prefill:7"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  const nlohmann::json json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["failed"], 1);
  const nlohmann::json& check = json["checks"][0];
  EXPECT_EQ(check["name"], "prefill_equals_decode");
  EXPECT_EQ(check["result"], "failed");
  EXPECT_EQ(check["where"]["layer"], 8);  // the first keys that layer 7's q acts on
}

TEST_F(SelftestSmolLM2, TableFitsTheTerminal) {
  const test::Outcome outcome =
      run_greta({"selftest", "--metamorphic", "-m", model_, "--inject", "wv_column_major@decode:29"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("first: layer 29, position 0, value[0] (1 token)"));
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
}

TEST_F(SelftestSmolLM2, IsolateVerifiesTheWeights) {
  const std::vector<std::string> arguments{"isolate",       "-m",       model_,
                                           "--prompts",     "p0_short", "--layers",
                                           "0-1",           "--inject", "wk_column_major@prefill:1",
                                           "--experiments", "E0",       "--out"};
  const auto with_out = [&](const char* name) {
    std::vector<std::string> all = arguments;
    all.push_back(scratch_ / name);
    return all;
  };
  const test::Outcome outcome = run_greta(with_out("on"), {"GRETA_TRACE_QKV_W_VERIFY=1"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("Weights as the kernels read them"));
  const nlohmann::json json = nlohmann::json::parse(test::read_file(scratch_ / "on/qkv_w_verify.json"));
  EXPECT_EQ(json["row"], 2 * 7 * 2 - 1);
  EXPECT_EQ(json["column"], 1);
  for (const nlohmann::json& probe : json["probes"]) {
    const bool wrong = probe["phase"] == "prefill" && probe["stage"] == "k" && probe["layer"] == 1;
    EXPECT_EQ(probe["layout"], wrong ? "column" : "row") << probe;
  }
  const test::Outcome off = run_greta(with_out("off"), {"GRETA_TRACE_QKV_W_VERIFY=0"});
  EXPECT_THAT(off.out, Not(HasSubstr("Weights as the kernels read them")));
  EXPECT_FALSE(test::fs::exists(scratch_ / "off/qkv_w_verify.json"));
}

}  // namespace
}  // namespace greta
