// The measured power of the diagnosis, the checks that need no reference, and the probe of the weights'
// layout, on the real model.

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

TEST_F(SelftestSmolLM2, MeasuresThePowerOfOneKindOfFault) {
  const std::string out = scratch_ / "power.md";
  const test::Outcome outcome =
      run_greta({"selftest", "-m", model_, "--only", "norm_eps", "--json", "--out", out});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  const nlohmann::json json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["schema"], "greta.selftest/1");
  EXPECT_EQ(json["summary"]["right"], 10) << "five faults in two phases";
  EXPECT_EQ(json["summary"]["holds"], true);
  EXPECT_EQ(json["faults"].size(), 10u);
  for (const nlohmann::json& fault : json["faults"]) {
    EXPECT_EQ(fault["named"], fault["expected"]) << fault;
    EXPECT_TRUE(fault["right_phase"] && fault["right_place"]) << fault;
    EXPECT_EQ(fault["findings_elsewhere"], 0) << fault;
  }
  EXPECT_TRUE(json["clean"].empty() && json["stacked"].empty());
  EXPECT_THAT(test::read_file(out), HasSubstr("| norm_eps | 6 | 6 | 6 | 6 | 6 | 0 | 0 |"));
}

TEST_F(SelftestSmolLM2, WritesBetweenTheMarksOfADocument) {
  const std::string out = scratch_ / "power.md";
  const std::vector<std::string> arguments{"selftest",          "-m",    model_, "--only",
                                           "qkv_route_ignored", "--out", out};
  test::write_file(out, "mine\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nalso mine\n");
  const test::Outcome outcome = run_greta(arguments);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("1/1 = 100.0 %"));
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  const std::string document = test::read_file(out);
  EXPECT_THAT(document, ::testing::StartsWith("mine\n<!-- measured: begin -->\n"));
  EXPECT_THAT(document, ::testing::EndsWith("<!-- measured: end -->\nalso mine\n"));
  EXPECT_THAT(document, Not(HasSubstr("old\n")));
  test::write_file(out, "no marks\n");
  const test::Outcome refused = run_greta(arguments);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("has no lines"));
  EXPECT_EQ(test::read_file(out), "no marks\n");
}

TEST_F(SelftestSmolLM2, RefusesWhatItCannotMeasure) {
  const test::Outcome unknown = run_greta({"selftest", "-m", model_, "--only", "nosuch"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.err, HasSubstr("no fault has this in its name"));
  const test::Outcome inject = run_greta({"selftest", "-m", model_, "--inject", "down_nan"});
  EXPECT_EQ(inject.exit_code, 2);
  EXPECT_THAT(inject.err, HasSubstr("--metamorphic"));
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
