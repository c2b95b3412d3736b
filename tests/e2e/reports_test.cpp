// What people and CI get out of a finding: other forms of a verdict, and a stage alone that numpy computes.

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "e2e/program.h"
#include "io/archive.h"

namespace greta {
namespace {

using ::testing::HasSubstr;

class Reports : public testing::Test {
 protected:
  std::string model(const std::string& name) const {
    const std::string path = scratch_ / (name + ".gguf");
    const auto files = read_archive(GRETA_SOURCE_DIR "/tests/goldens/architectures/" + name + ".tgz",
                                    [](const std::string& file) { return file == "model.gguf"; });
    const std::vector<std::byte>& bytes = files.at("model.gguf");
    test::write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    return path;
  }

  test::Outcome isolate(const std::string& path, const std::vector<std::string>& faults,
                        const std::string& format = "agent") const {
    std::vector<std::string> arguments{"isolate",
                                       "-m",
                                       path,
                                       "--experiments",
                                       "E0",
                                       "--prompts",
                                       "p5_ba",
                                       "--out",
                                       scratch_ / "out",
                                       "--force",
                                       "--format",
                                       format,
                                       "--no-interventions",
                                       "--archive"};
    for (const std::string& fault : faults) arguments.insert(arguments.end(), {"--inject", fault});
    return test::run_greta(arguments);
  }

  test::Scratch scratch_;
};

TEST_F(Reports, OfADirectoryAreThoseOfTheRun) {
  const test::Outcome run = isolate(model("llama"), {"wq_column_major@prefill:0"});
  EXPECT_EQ(run.exit_code, 1) << run.err;
  EXPECT_THAT(run.out, HasSubstr("finding=1 place=prefill/L0/q cause=weight_column_major"));
  const auto report = [&](const std::string& path, const std::string& format) {
    const test::Outcome outcome = test::run_greta({"report", path, "--format", format});
    EXPECT_EQ(outcome.exit_code, 1) << outcome.err;  // the verdict's, in every form
    return outcome.out;
  };
  EXPECT_EQ(report(scratch_ / "out", "agent"), run.out);
  EXPECT_EQ(report(scratch_ / "out", "html"), test::read_file(scratch_ / "out/report.html"));
  EXPECT_EQ(report(scratch_ / "out/artifacts.tgz", "json"), test::read_file(scratch_ / "out/verdict.json"));
  EXPECT_THAT(report(scratch_ / "out", "junit"), HasSubstr("<failure message=\"L0: noise ratio"));
  EXPECT_THAT(test::run_greta({"report", scratch_ / "nowhere"}).err, HasSubstr("no such directory"));
}

TEST_F(Reports, OfGithubAddToTheStepsSummary) {
  const std::string path = model("llama");
  isolate(path, {});
  const test::Outcome outcome = test::run_greta({"report", scratch_ / "out", "--format", "github"},
                                                {"GITHUB_STEP_SUMMARY=" + (scratch_ / "summary.md")});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("::notice title=GRETA "));
  EXPECT_THAT(test::read_file(scratch_ / "summary.md"), HasSubstr("## Summary"));
}

/// Every kind of stage that has a formula: numpy's noise ratio is GRETA's, to three digits.
TEST_F(Reports, AReproPrintsTheNoiseRatioByNumpyAlone) {
  if (std::system("python3 -c 'import numpy' 2>/dev/null") != 0) GTEST_SKIP() << "python3 has no numpy";
  struct Wrong {
    const char *model, *fault;
  };
  const std::regex figures("noise ratio (\\S+) \\(GRETA: (\\S+)\\)");
  for (const Wrong& c :
       {Wrong{"llama", "wq_column_major@prefill:0"}, Wrong{"qwen2", "q_bias_omitted@decode:0"},
        Wrong{"qwen3", "q_norm_omitted@decode:0"}, Wrong{"phi3", "q_rope_halves@decode:0"},
        Wrong{"gemma3", "window_ignored@decode:0"}, Wrong{"gemma3", "act_gelu_erf@decode:1"},
        Wrong{"llama", "attn_norm_eps@prefill:1"}, Wrong{"llama", "down_scaled@decode:1"}}) {
    const test::Outcome run = isolate(model(c.model), {c.fault});
    ASSERT_EQ(run.exit_code, 1) << c.fault << run.err;
    const test::Outcome repro = test::run_greta(
        {"repro", scratch_ / "out", "1", "-m", model(c.model), "--out", scratch_ / "repro", "--force"});
    ASSERT_EQ(repro.exit_code, 0) << c.fault << repro.err;
    const std::string out = scratch_ / "numpy.txt";
    ASSERT_EQ(std::system(("python3 " + (scratch_ / "repro/repro.py") + " >" + out).c_str()), 0) << c.fault;
    const std::string text = test::read_file(out);
    std::smatch match;
    ASSERT_TRUE(std::regex_search(text, match, figures)) << text;
    EXPECT_EQ(match[1], match[2]) << c.fault << "\n" << text;
    EXPECT_GT(std::stod(match[1]), 1) << c.fault;
  }
}

}  // namespace
}  // namespace greta
