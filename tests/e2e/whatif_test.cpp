// greta whatif: the command, its files, its refusals.

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "e2e/program.h"
#include "model/model_files.h"

namespace greta {
namespace {

using test::run_greta;
using ::testing::HasSubstr;

class WhatIfSmolLM2 : public ::testing::Test {
 protected:
  void SetUp() override { GRETA_SKIP_WITHOUT("smollm2"); }

  void expect_refused(const std::vector<std::string>& more, const std::string& part) {
    std::vector<std::string> arguments = {"whatif", "-m", model_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const test::Outcome outcome = run_greta(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(part));
    EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }

  std::string model_ = test::model_path("smollm2");
  test::Scratch scratch_;
};

TEST_F(WhatIfSmolLM2, MeasuresAUnitAndWritesItsFiles) {
  const std::string out = scratch_ / "out";
  test::write_file(scratch_ / "prompt.txt", "Hello world, what if?");
  const test::Outcome outcome = run_greta({"whatif", "-m", model_, "--devices", "sim:h100", "--layers", "0",
                                           "--prompts", scratch_ / "prompt.txt", "--out", out});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) {
    if (line == out) continue;  // a path stays whole
    EXPECT_LE(line.size(), 80u) << line;
  }
  const nlohmann::json json = nlohmann::json::parse(test::read_file(out + "/whatif.json"));
  EXPECT_EQ(json["schema"], "greta.whatif/1");
  const nlohmann::json& unit = json["devices"][0];
  EXPECT_EQ(unit["status"], "ROUNDING");
  EXPECT_LE(unit["max_noise_ratio"], 1);
  EXPECT_EQ(unit["logits"]["positions"], json["prompts"][0]["tokens"]);
  EXPECT_GT(unit["logits"]["kl_mean"], 0);
  // Hopper truncates: towards zero, beyond any chance (6 standard errors).
  const nlohmann::json& outward = unit["bias"][0]["outward_ulp"];
  EXPECT_LT(double(outward["mean"]), -6 * double(outward["standard_error"]));
  // The rule predicts it to half of it (docs/numerics.md, "Matrix units": the gain).
  EXPECT_NEAR(double(outward["mean"]), double(outward["expected"]), -double(outward["expected"]) / 2);
  EXPECT_THAT(test::read_file(out + "/drift.svg"), HasSubstr("</svg>"));
  expect_refused({"--out", out}, "--force");
}

TEST_F(WhatIfSmolLM2, AFaultIsExitCode1) {
  const test::Outcome outcome =
      run_greta({"whatif", "-m", model_, "--devices", "cpu", "--layers", "0", "--prompts", "p0_short",
                 "--inject", "wq_column_major:0", "--json"});
  EXPECT_EQ(outcome.exit_code, 1) << outcome.err;
  const nlohmann::json json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json["reference"]["status"], "EQUAL");
  EXPECT_EQ(json["devices"][0]["status"], "FAULT");
}

TEST_F(WhatIfSmolLM2, BadInputIsOneLine) {
  expect_refused({"--devices", "sim:mi300"}, "sim:mi300x");  // names the known ones
  expect_refused({"--devices", "sim:v100"}, "--sim-input f16");
  expect_refused({"--devices", "cpu,cpu"}, "twice");
  expect_refused({"--layers", "99"}, "--layers 99");
  expect_refused({"--prompts", "no_such_prompt"}, "no_such_prompt");
}

}  // namespace
}  // namespace greta
