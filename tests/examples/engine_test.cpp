// The example engine that records by greta_trace.h: clean it is rounding, its five bugs are found and named.

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "e2e/program.h"
#include "engine/tiny_model.h"

namespace greta {
namespace {

using test::run_greta;
using test::Scratch;
using ::testing::HasSubstr;

class ExampleEngine : public ::testing::Test {
 protected:
  void SetUp() override { test::write_file(model(), test::random_llama(TensorType::q4_1)); }

  std::string model() const { return scratch_ / "tiny.gguf"; }

  /// The engine's exit code; what it printed lies in `printed`.
  int run(const std::string& options, const std::string& before = "") const {
    const std::string line = before + " '" GRETA_EXAMPLE_ENGINE "' '" + model() + "' " + options + " >'" +
                             (scratch_ / "printed") + "' 2>&1";
    const int status = std::system(line.c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string printed() const { return test::read_file(scratch_ / "printed"); }

  nlohmann::json verdict_of(const std::string& bug, int exit_code) const {
    const std::string bundle = scratch_ / bug;
    EXPECT_EQ(run("--bug " + bug + " --out '" + bundle + "'"), 0) << printed();
    const test::Outcome outcome = run_greta({"diagnose", bundle, "-m", model(), "--json"});
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    return nlohmann::json::parse(outcome.out);
  }

  void expect_found(const std::string& bug, const std::string& phase, const std::string& stage,
                    const std::string& hypothesis) const {
    const nlohmann::json verdict = verdict_of(bug, 1);
    ASSERT_FALSE(verdict.at("findings").empty()) << bug;
    const nlohmann::json& first = verdict.at("findings").front();
    EXPECT_EQ(first.at("phase"), phase) << bug;
    EXPECT_EQ(first.at("stage"), stage) << bug;
    EXPECT_EQ(first.at("layer"), 0) << bug;
    EXPECT_EQ(first.at("hypothesis"), hypothesis) << bug;
  }

 private:
  Scratch scratch_;
};

TEST_F(ExampleEngine, IsRoundingEverywhere) {
  const nlohmann::json verdict = verdict_of("none", 0);
  EXPECT_EQ(verdict.at("verdict"), "ROUNDING");
  EXPECT_EQ(verdict.at("engine"), "example-engine");
  EXPECT_EQ(verdict.at("coverage").at("percent"), 100.0);
  EXPECT_TRUE(verdict.at("findings").empty());
  EXPECT_TRUE(verdict.at("untested_writes").empty());
}

TEST_F(ExampleEngine, ItsBugsAreFoundAndNamed) {
  expect_found("wq_column_major", "decode", "q", "weight_column_major");
  expect_found("rope_position", "decode", "q_rope", "rope_position");
  expect_found("kv_slot", "decode", "kv_write", "kv_slot");
  expect_found("mask_offset", "prefill", "qk", "mask_offset");
  expect_found("glu_swapped", "decode", "act", "gate_up_swapped");
}

TEST_F(ExampleEngine, RunsWithoutATrace) {
  EXPECT_EQ(run("--tokens 1,2,3"), 0);
  EXPECT_THAT(printed(), HasSubstr("decode says"));
}

TEST_F(ExampleEngine, SaysWhatItCannotDo) {
  EXPECT_EQ(run("--tokens 99999"), 2);
  EXPECT_THAT(printed(), HasSubstr("no token of this model: 99999"));
  EXPECT_EQ(run("--bug nothing"), 2);
  EXPECT_EQ(run("--out '" + model() + "/b'"), 2);
  EXPECT_THAT(printed(), HasSubstr("Not a directory"));
  EXPECT_EQ(run("--out '" + model() + "-full'", "trap '' XFSZ; ulimit -f 1;"), 3) << printed();
  EXPECT_THAT(printed(), HasSubstr("the trace is not whole: cannot write"));
  const std::string whole = test::read_file(model());
  test::write_file(model(), whole.substr(0, whole.size() / 2));
  EXPECT_EQ(run(""), 2);
  EXPECT_THAT(printed(), HasSubstr("engine: "));
}

TEST_F(ExampleEngine, NeitherLeaksNorReadsWhatIsNotThere) {
#ifdef GRETA_SANITIZED
  GTEST_SKIP() << "the sanitizers look at it, and valgrind cannot run them";
#endif
  if (std::system("valgrind --version >/dev/null 2>&1") != 0) GTEST_SKIP() << "needs valgrind";
  EXPECT_EQ(
      run("--tokens 1,2,3 --out '" + model() + "-b'", "valgrind -q --leak-check=full --error-exitcode=9"), 0)
      << printed();
}

}  // namespace
}  // namespace greta
