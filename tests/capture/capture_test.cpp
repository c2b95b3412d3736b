// `greta capture` on a small llama on a ggml of the tests' own (fake/): what a stranger's program computes
// becomes a bundle that is judged with nothing declared; and what may go wrong.

#include <gmock/gmock.h>
#include <signal.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <thread>

#include "e2e/program.h"
#include "engine/tiny_model.h"

namespace greta {
namespace {

using test::Outcome;
using test::read_file;
using test::run_greta;
using test::Scratch;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kEngine = GRETA_FAKE_ENGINE;
constexpr const char* kLayouts = GRETA_FAKE_LAYOUTS;  // a folder of libraries for each

class Capture : public ::testing::Test {
 protected:
  void SetUp() override { test::write_file(model_, test::random_llama(TensorType::f32, TensorType::f32)); }

  /// greta capture OPTIONS --out DIR -- the engine with ARGUMENTS.
  Outcome capture(std::vector<std::string> arguments, const std::vector<std::string>& options = {},
                  const std::vector<std::string>& environment = {}, const std::string& shell_prefix = "") {
    std::vector<std::string> line = {"capture", "--force", "--out", bundle_};
    line.insert(line.end(), options.begin(), options.end());
    line.insert(line.end(), {"--", kEngine, model_});
    line.insert(line.end(), arguments.begin(), arguments.end());
    return run_greta(line, environment, shell_prefix);
  }
  nlohmann::json verdict(int exit_code) const {
    const Outcome outcome = run_greta({"diagnose", bundle_, "-m", model_, "--json"});
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.out << outcome.err;
    return nlohmann::json::parse(outcome.out);
  }
  nlohmann::json manifest() const { return nlohmann::json::parse(read_file(bundle_ + "/manifest.json")); }
  /// "prefill q" -> how often.
  std::map<std::string, int> stages() const {
    std::map<std::string, int> counts;
    std::istringstream lines(read_file(bundle_ + "/events.jsonl"));
    for (std::string line; std::getline(lines, line);) {
      const nlohmann::json event = nlohmann::json::parse(line);
      ++counts[event["phase"].get<std::string>() + " " + event["stage"].get<std::string>()];
    }
    return counts;
  }

  Scratch scratch_;
  const std::string model_ = scratch_ / "tïny.gguf", bundle_ = scratch_ / "bundle";
};

TEST_F(Capture, WhatAProgramComputesIsJudgedWithNothingDeclared) {
  const Outcome plain = [&] {
    const std::string line = std::string(kEngine) + " " + model_ + " >" + (scratch_ / "plain");
    EXPECT_EQ(std::system(line.c_str()), 0);
    return Outcome{0, read_file(scratch_ / "plain"), ""};
  }();
  const Outcome outcome = capture({});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, plain.out);
  EXPECT_THAT(outcome.err, HasSubstr("recorded 6 prompt tokens and 2 steps, 120 stages"));
  EXPECT_THAT(outcome.err,
              HasSubstr("logits of 4 graphs compared with a run without capture: equal bit for bit"));
  const nlohmann::json judged = verdict(0);
  EXPECT_EQ(judged["verdict"], "ROUNDING");
  EXPECT_EQ(judged["coverage"]["percent"], 100.0);
  EXPECT_EQ(judged["coverage"]["judged"], 120);
  const nlohmann::json said = manifest();
  EXPECT_EQ(said["engine"], "ggml");
  EXPECT_EQ(said["complete"], true);
  EXPECT_EQ(said["aligned"], false);
  EXPECT_EQ(said["model"]["file"], model_);
  EXPECT_EQ(said["kernels"], nlohmann::json::object());
  EXPECT_EQ(said["options"]["capture"]["attested"], "equal");
  EXPECT_EQ(said["prompts"][0]["tokens"].size(), 8U);
  for (const char* stage : {"qk", "softmax", "pv", "kv_write", "x_in", "act"}) {
    for (const char* phase : {"prefill ", "decode0 ", "decode1 "})
      EXPECT_EQ(stages()[phase + std::string(stage)], 2);
  }
}

TEST_F(Capture, FlashAttentionHasNeitherScoresNorWeights) {
  EXPECT_EQ(capture({"--flash"}).exit_code, 0);
  EXPECT_EQ(stages()["prefill qk"], 0);
  EXPECT_EQ(stages()["prefill pv"], 2);
  EXPECT_EQ(verdict(0)["coverage"]["percent"], 100.0);
}

TEST_F(Capture, ChunksArePhasesOfTheirOwn) {
  EXPECT_EQ(capture({"--chunk", "4"}).exit_code, 0);
  EXPECT_EQ(stages()["prefill1 q"], 2);
  EXPECT_EQ(verdict(0)["coverage"]["percent"], 100.0);
}

TEST_F(Capture, ABugOfStepsIsFoundInDecode) {
  EXPECT_EQ(capture({"--late"}).exit_code, 0);
  const nlohmann::json judged = verdict(1);
  EXPECT_EQ(judged["findings"][0]["phase"], "decode");
  EXPECT_EQ(judged["findings"][0]["stage"], "q_rope");
  EXPECT_THAT(judged["findings"][0]["title"].get<std::string>(), HasSubstr("+1"));
}

/// Layers are told by most of their weights' names, not by counting.
TEST_F(Capture, ALayerWhoseResultNobodyReadsIsFoundWhereTheNextBegins) {
  EXPECT_EQ(capture({"--skipped"}).exit_code, 0);
  const nlohmann::json judged = verdict(1);
  ASSERT_EQ(judged["findings"].size(), 1U);
  EXPECT_EQ(judged["findings"][0]["stage"], "x_in");
  EXPECT_EQ(judged["findings"][0]["layer"], 1);
  EXPECT_EQ(judged["findings"][0]["phase"], "both");
}

TEST_F(Capture, ALayerThatIsComputedTwiceIsSaid) {
  EXPECT_THAT(capture({"--twice"}).err, HasSubstr("layer 0 is computed twice in one graph"));
  const nlohmann::json judged = verdict(1);
  EXPECT_EQ(judged["findings"][0]["stage"], "x_in");
  EXPECT_EQ(judged["findings"][0]["layer"], 0);
  EXPECT_EQ(stages()["prefill q"], 2);
}

TEST_F(Capture, AValueByTheKeysWeightIsAValue) {
  EXPECT_EQ(capture({"--same"}).exit_code, 0);
  const nlohmann::json judged = verdict(1);
  ASSERT_EQ(judged["findings"].size(), 1U);
  EXPECT_EQ(judged["findings"][0]["stage"], "v");
  EXPECT_EQ(judged["findings"][0]["hypothesis"], "swapped_weight");
}

TEST_F(Capture, AKeyThatIsWrittenOverAnotherIsFoundInTheCache) {
  EXPECT_EQ(capture({"--lost"}).exit_code, 0);
  const nlohmann::json judged = verdict(1);
  EXPECT_EQ(judged["findings"].size(), 2U);
  for (const nlohmann::json& finding : judged["findings"]) EXPECT_EQ(finding["stage"], "kv_write");
}

/// The cache holds them all the same: it is no other text, and no rollback.
TEST_F(Capture, PositionsThatFallBehindTheCacheAreSaidAndFound) {
  EXPECT_THAT(capture({"--misplaced", "--chunk", "4"}).err, HasSubstr("they are recorded as the latter"));
  const nlohmann::json judged = verdict(1);
  EXPECT_EQ(judged["findings"][0]["stage"], "q_rope");
  EXPECT_THAT(judged["findings"][0]["title"].get<std::string>(), HasSubstr("-1"));
}

/// It is counted and named, and never a pass.
TEST_F(Capture, AnOpThatMakesNoStageIsNotMeasured) {
  EXPECT_THAT(capture({"--strange"}).err, HasSubstr("120 stages"));
  const nlohmann::json judged = verdict(4);
  ASSERT_EQ(judged["ops"].size(), 3U);  // a phase
  EXPECT_EQ(judged["ops"][0]["op"], "sqr");
  EXPECT_EQ(judged["ops"][0]["status"], "UNMEASURED");
}

TEST_F(Capture, WhatAToolWarmsUpWithIsNoPrompt) {
  const Outcome outcome = capture({"--warm"});
  EXPECT_THAT(outcome.err, HasSubstr("recorded 6 prompt tokens and 2 steps"));
  EXPECT_THAT(outcome.err,
              HasSubstr("logits of 5 graphs compared with a run without capture: equal bit for bit"));
  EXPECT_EQ(verdict(0)["coverage"]["percent"], 100.0);
}

TEST_F(Capture, LayersAndStepsAreChosen) {
  EXPECT_EQ(capture({}, {"--layers", "1", "--steps", "1", "--no-verify"}).exit_code, 0);
  EXPECT_EQ(stages()["prefill q"], 1);
  EXPECT_EQ(stages()["decode0 q"], 1);
  EXPECT_EQ(stages()["decode1 q"], 0);
  EXPECT_EQ(manifest()["options"]["capture"]["attested"], "not compared");
  for (const char* wrong : {"x", "1-", "-1", "0,1", "5-2"}) {
    const Outcome outcome = capture({}, {std::string("--layers=") + wrong});
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr("--layers"));
  }
}

TEST_F(Capture, LayersThatAreNotThereAreSaid) {
  const Outcome outcome = capture({}, {"--layers", "99", "--no-verify"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("no layer from 99 on is computed: the last one is 1"));
}

TEST_F(Capture, AProgramsOwnObserverSeesWhatItAskedFor) {
  const Outcome outcome = capture({"--watch"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(stages()["decode1 q"], 2);
  const std::string line = std::string(kEngine) + " " + model_ + " --watch >" + (scratch_ / "plain");
  EXPECT_EQ(std::system(line.c_str()), 0);
  EXPECT_EQ(outcome.out, read_file(scratch_ / "plain"));
}

TEST_F(Capture, FieldsAreFoundInALayoutOfAnotherVersion) {
  EXPECT_EQ(capture({}, {}, {std::string("LD_LIBRARY_PATH=") + kLayouts + "/1"}).exit_code, 0);
  EXPECT_EQ(verdict(0)["coverage"]["percent"], 100.0);
}

TEST_F(Capture, ALayoutThatNobodyKnowsIsRefusedAndTheProgramRunsOn) {
  const Outcome outcome = capture({"--exit", "5"}, {}, {std::string("LD_LIBRARY_PATH=") + kLayouts + "/2"});
  EXPECT_EQ(outcome.exit_code, 5);
  EXPECT_THAT(outcome.err, HasSubstr("the layout of this ggml's tensors is not known: ne was not found"));
  EXPECT_THAT(outcome.out, Not(testing::IsEmpty()));
  EXPECT_EQ(verdict(4)["verdict"], "VACUOUS");
}

TEST_F(Capture, OfABatchOfSeveralTextsOneIsRecorded) {
  for (const std::vector<std::string>& line :
       {std::vector<std::string>{"--two"}, std::vector<std::string>{"--two", "--flash"}}) {
    const Outcome outcome = capture(line);
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.err, HasSubstr("batches hold several texts: one of them is recorded"));
    EXPECT_THAT(outcome.err, HasSubstr("recorded 3 prompt tokens and 2 steps"));
    EXPECT_THAT(outcome.err, HasSubstr("equal bit for bit"));
    EXPECT_EQ(stages()["decode1 q"], 2);
    EXPECT_EQ(verdict(0)["coverage"]["percent"], 100.0);
  }
}

// Where a graph says that it writes is not where its rows look: what they see there is what the cache holds.
TEST_F(Capture, AKeyThatIsWrittenOneSlotOnIsFoundInTheCache) {
  EXPECT_EQ(capture({"--astray", "--steps", "1"}).exit_code, 0);
  const nlohmann::json judged = verdict(1);
  EXPECT_EQ(judged["findings"][0]["phase"], "decode");
  EXPECT_EQ(judged["findings"][0]["stage"], "kv_write");
}

TEST_F(Capture, AShiftedCacheIsRecordedUpToThere) {
  const Outcome outcome = capture({"--shifted"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("K-shift"));
  EXPECT_EQ(stages()["decode0 q"], 2);
  EXPECT_EQ(stages()["decode1 q"], 0);
  EXPECT_EQ(verdict(0)["coverage"]["percent"], 100.0);
}

TEST_F(Capture, TheCommandsExitCodeIsKept) {
  EXPECT_EQ(capture({"--exit", "7"}).exit_code, 7);
  EXPECT_EQ(verdict(0)["coverage"]["percent"], 100.0);
  const auto run = [&](const std::vector<std::string>& command) {
    std::vector<std::string> line = {"capture", "--force", "--out", bundle_, "--"};
    line.insert(line.end(), command.begin(), command.end());
    return run_greta(line);
  };
  const Outcome none = run({"true"});
  EXPECT_EQ(none.exit_code, 0);
  EXPECT_EQ(
      none.err,
      "greta: nothing was recorded: true computed nothing with a shared ggml (libggml.so and its kin)\n");
  EXPECT_EQ(run({"sh", "-c", "exit 9"}).exit_code, 9);
  EXPECT_EQ(run({"sh", "-c", "kill -9 $$"}).exit_code, 137);
  const Outcome missing = run({"no-such-program"});
  EXPECT_EQ(missing.exit_code, 127);
  EXPECT_EQ(missing.err, "greta: cannot run no-such-program: No such file or directory\n");
  EXPECT_EQ(run({"/etc/passwd"}).exit_code, 126);
  EXPECT_EQ(run({}).exit_code, 2);
  EXPECT_EQ(verdict(4)["verdict"], "VACUOUS");
}

TEST_F(Capture, AStaticProgramIsToldFromOneWithoutGgml) {
  const Outcome outcome = run_greta({"capture", "--out", bundle_, "--", GRETA_STATIC_PROGRAM});
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("is linked statically: nothing can be preloaded into it"));
}

TEST_F(Capture, ADirectoryThatIsThereNeedsForce) {
  test::fs::create_directory(bundle_);
  const Outcome outcome = run_greta({"capture", "--out", bundle_, "--", "true"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_THAT(outcome.err, HasSubstr("--force"));
}

// The library's files are larger than the shell lets them be.
TEST_F(Capture, AFullDiskIsSaidOnceAndTheProgramRunsOn) {
  const Outcome outcome = capture({"--exit", "3"}, {}, {}, "trap '' XFSZ; ulimit -f 20");
  EXPECT_EQ(outcome.exit_code, 3);
  EXPECT_THAT(outcome.err, HasSubstr("cannot write"));
  EXPECT_THAT(outcome.err, HasSubstr("the bundle is readable up to there"));
  EXPECT_THAT(outcome.out, Not(testing::IsEmpty()));
  EXPECT_EQ(manifest()["complete"], false);
  verdict(4);
}

TEST_F(Capture, AnInterruptedRunLeavesABundle) {
  const std::vector<std::string> line = {"capture", "--out", bundle_, "--", kEngine, model_, "--sleep"};
  const pid_t pid = test::start(line, scratch_ / "out", scratch_ / "err");
  for (int i = 0; i < 200 && stages()["decode1 q"] < 2; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ::kill(pid, SIGTERM);  // is passed on to the program
  EXPECT_EQ(test::wait_for(pid), 128 + SIGTERM);
  EXPECT_EQ(manifest()["complete"], false);
  EXPECT_EQ(verdict(0)["coverage"]["percent"], 100.0);
}

}  // namespace
}  // namespace greta
