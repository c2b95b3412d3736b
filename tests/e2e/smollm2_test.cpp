// The commands on the real model, as in the README.

#include <gmock/gmock.h>
#include <signal.h>

#include <nlohmann/json.hpp>

#include "bundle/bundle.h"
#include "bundle/schema_validation.h"
#include "e2e/program.h"
#include "model/gguf_model_file.h"

namespace greta {
namespace {

using test::run_greta;
using test::Scratch;
using ::testing::HasSubstr;

class SmolLM2 : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::optional<std::string> path = test::model_file("SmolLM2-135M-Instruct.Q4_1.gguf");
    if (!path) GTEST_SKIP() << test::kNoModel;
    model_ = *path;
  }

  std::string model_;
  Scratch scratch_;
};

nlohmann::json parse(const std::string& text) { return nlohmann::json::parse(text); }

TEST_F(SmolLM2, IsolateVouchesForTheCleanEngine) {
  const test::Outcome outcome =
      run_greta({"isolate", "-m", model_, "--json", "--out", scratch_ / "out", "--archive"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const nlohmann::json verdict = parse(outcome.out);
  EXPECT_EQ(verdict["verdict"], "ROUNDING");
  EXPECT_EQ(verdict["coverage"]["percent"], 100.0);
  ASSERT_EQ(verdict["cells"].size(), 20u);
  for (const nlohmann::json& cell : verdict["cells"]) {
    const std::string experiment = cell["experiment"];
    const bool vector = experiment == "E1" || experiment == "E4";
    EXPECT_EQ(cell["verdict"], vector ? "ROUNDING" : "EQUAL") << cell;
    EXPECT_TRUE(cell["attested"]) << cell;
    EXPECT_TRUE(cell["logits_top1_agree"]) << cell;
  }
  for (const char* file :
       {"manifest.json", "events.jsonl", "tensors-0000.safetensors", "verdict.json", "b3_31_analysis.txt",
        "report.html", "report.en.md", "report.es.md", "artifacts.tgz"}) {
    EXPECT_TRUE(test::fs::exists(scratch_ / ("out/" + std::string(file)))) << file;
  }
  EXPECT_EQ(parse(test::read_file(scratch_ / "out/verdict.json")), verdict);
  EXPECT_EQ(run_greta({"compare", scratch_ / "out", scratch_ / "out/artifacts.tgz"}).exit_code, 0);
}

TEST_F(SmolLM2, IsolateFindsTheSeedBug) {
  const test::Outcome outcome =
      run_greta({"isolate", "-m", model_, "--json", "--prompts", "p0_short,p4_sys", "--layers", "0-1",
                 "--inject", "wq_column_major@prefill,S>1", "--out", scratch_ / "out"});
  ASSERT_EQ(outcome.exit_code, 1) << outcome.err;
  const nlohmann::json verdict = parse(outcome.out);
  ASSERT_EQ(verdict["findings"].size(), 2u) << "one in each traced layer";
  for (int layer = 0; layer < 2; ++layer) {
    const nlohmann::json& finding = verdict["findings"][static_cast<size_t>(layer)];
    EXPECT_EQ(finding["phase"], "prefill");
    EXPECT_EQ(finding["layer"], layer);
    EXPECT_EQ(finding["stage"], "q");
    EXPECT_EQ(finding["hypothesis"], "weight_column_major");
    EXPECT_GT(finding["explained_residual"], 0.999);
    EXPECT_LT(finding["runner_up"]["explained_residual"], 0.9) << "no rival comes near";
  }
  EXPECT_THAT(test::read_file(scratch_ / "out/report.en.md"), HasSubstr("p0_short"));
}

TEST_F(SmolLM2, TheBundleIsAsTheSchemaSays) {
  const test::Outcome outcome = run_greta({"isolate", "-m", model_, "--layers", "0,29", "--prompts",
                                           "p0_short,p5_ba", "--out", scratch_ / "out"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const int result = testing::validate(scratch_ / "out");
  if (result == 77) GTEST_SKIP() << "needs python3 with jsonschema";
  EXPECT_EQ(result, 0);
}

TEST_F(SmolLM2, ASimulatedDeviceRoundsApartUnlessItsOrderIsInvariant) {
  std::vector<std::string> arguments = {"isolate",  "-m",     model_,      "--device",        "sim:mi300x",
                                        "--layers", "0,1",    "--prompts", "p5_ba",           "--experiments",
                                        "E0",       "--json", "--out",     scratch_ / "apart"};
  const test::Outcome apart = run_greta(arguments);
  ASSERT_EQ(apart.exit_code, 0) << apart.err;
  EXPECT_EQ(parse(apart.out)["cells"][0]["verdict"], "ROUNDING");
  EXPECT_EQ(parse(apart.out)["cells"][0]["q_kernel"], "sim.mi300x.vector.gemv_wave64");
  arguments.back() = scratch_ / "equal";
  arguments.push_back("--invariant");
  const test::Outcome equal = run_greta(arguments);
  ASSERT_EQ(equal.exit_code, 0) << equal.err;
  EXPECT_EQ(parse(equal.out)["cells"][0]["verdict"], "EQUAL");
  EXPECT_EQ(parse(equal.out)["cells"][0]["pairs"]["ROUNDING"], 0);
}

TEST_F(SmolLM2, OneOrderOfSumsServesBothShapesAndIsNoInertFactor) {
  const test::Outcome outcome =
      run_greta({"isolate", "-m", model_, "--device", "sim:mi300x", "--invariant", "--layers", "0",
                 "--prompts", "p0_short", "--experiments", "E1,E4", "--json", "--out", scratch_ / "one"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out << outcome.err;
}

TEST_F(SmolLM2, B331FlagsWriteItsJsonl) {
  const test::Outcome outcome =
      run_greta({"trace", "-m", model_, "-p", "p5_ba", "--out", scratch_ / "out"},
                {"GRETA_QKV_FORCE_ROUTE=valu", "GRETA_QKV_FORCE_GEMM=1", "GRETA_TRACE_ATTN_L0_PIPE=1",
                 "GRETA_TRACE_STAGE_DEBUG_INPUT=1", "GRETA_TRACE_ATTN_L0_NORM=1",
                 "GRETA_TRACE_PROMPT_ID=label", "GRETA_TRACE_ATTN_L0_PIPE_OUT=" + (scratch_ / "pipe.jsonl")});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  std::istringstream lines(test::read_file(scratch_ / "pipe.jsonl"));
  std::vector<nlohmann::json> events;
  for (std::string line; std::getline(lines, line);) events.push_back(parse(line));
  ASSERT_EQ(events.size(), 2u);
  for (const nlohmann::json& event : events) {
    EXPECT_EQ(event["event"], "attn_l0_pipe");
    EXPECT_EQ(event["prompt_id"], "label");
    EXPECT_EQ(event["q"].size(), 64u);
    EXPECT_EQ(event["qk"].size(), 8u);
    EXPECT_EQ(event["attn_norm_out"].size(), 576u);
    EXPECT_EQ(event["pos_id"], 7);
    EXPECT_EQ(event["seq_len_used"], 8);
    EXPECT_EQ(event["qkv_force_route"], "valu");
    EXPECT_EQ(event["qkv_force_gemm"], true);
  }
  EXPECT_EQ(events[0]["phase"], "prefill_last");
  EXPECT_EQ(events[0]["q_route_used"], "MFMA");
  EXPECT_EQ(events[1]["phase"], "decode0");
  EXPECT_EQ(events[1]["q_route_used"], "VALU");
}

TEST_F(SmolLM2, EveryIsaComputesTheSameBits) {
  for (const char* isa : {"avx2", "avx512"}) {
    const test::Outcome outcome =
        run_greta({"trace", "-m", model_, "-p", "p5_ba", "--layers", "0,29", "--out", scratch_ / isa},
                  {std::string("GRETA_ISA=") + isa});
    if (outcome.exit_code == 2 && outcome.err.find("can't run it") != std::string::npos)
      GTEST_SKIP() << outcome.err;
    ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  }
  const test::Outcome compared = run_greta({"compare", scratch_ / "avx2", scratch_ / "avx512"});
  EXPECT_EQ(compared.exit_code, 0) << compared.out;
  EXPECT_THAT(compared.out, HasSubstr("EQUAL"));
}

TEST_F(SmolLM2, RunStreamsASensibleAnswer) {
  const test::Outcome outcome =
      run_greta({"run", "-m", model_, "--chat", "-p", "What is the capital of France?", "-n", "24", "--route",
                 "all=vector"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("Paris"));
}

TEST_F(SmolLM2, OutDirectoryThatExistsIsKept) {
  test::fs::create_directory(scratch_ / "out");
  test::write_file(scratch_ / "out/mine.txt", "mine");
  const std::vector<std::string> arguments = {"trace", "-m",    model_,          "-p", "p0_short", "--layers",
                                              "0",     "--out", scratch_ / "out"};
  const test::Outcome refused = run_greta(arguments);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_THAT(refused.err, HasSubstr("exists"));
  std::vector<std::string> forced = arguments;
  forced.push_back("--force");
  EXPECT_EQ(run_greta(forced).exit_code, 0);
  EXPECT_EQ(test::read_file(scratch_ / "out/mine.txt"), "mine");
}

TEST_F(SmolLM2, WhatCannotBeWrittenOrFitIsRefused) {
  const auto refused = [&](std::vector<std::string> more, const std::string& part) {
    std::vector<std::string> arguments = {"trace", "-m", model_};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const test::Outcome outcome = run_greta(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(part));
  };
  refused({"-p", "p0_short", "--out", "/proc/greta"}, "/proc/greta");
  refused({"-p", "nowhere", "--out", scratch_ / "a"}, "p0_short");
  refused({"-p", "p0_short", "--layers", "0-30", "--out", scratch_ / "b"}, "layers 0 to 29");
  refused({"-p", "p0_short", "--inject", "no_such_fault", "--out", scratch_ / "c"},
          "`greta faults` lists them");
  std::string long_text;
  for (int i = 0; i < 9000; ++i) long_text += "word ";
  test::write_file(scratch_ / "long.txt", long_text);
  refused({"-p", scratch_ / "long.txt", "--out", scratch_ / "d"}, "8192");
  EXPECT_FALSE(test::fs::exists(scratch_ / "d"));
  const test::Outcome ids = run_greta({"tokenize", "-m", model_, "--decode", "--", "49152"});
  EXPECT_EQ(ids.exit_code, 2);
  EXPECT_THAT(ids.err, HasSubstr("49152"));
}

TEST_F(SmolLM2, AFullDiskLeavesAReadableBundle) {
  // A limit on file size stands for the full disk: the write fails half-way.
  const test::Outcome outcome = run_greta({"trace", "-m", model_, "-p", "p5_ba", "--out", scratch_ / "out"},
                                          {}, "trap '' XFSZ; ulimit -f 200");
  EXPECT_EQ(outcome.exit_code, 3) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("readable up to"));
  EXPECT_GT(read_bundle(scratch_ / "out").events.size(), 100u);
}

TEST_F(SmolLM2, CtrlCLeavesAReadableBundle) {
  const pid_t pid =
      test::start({"isolate", "-m", model_, "--out", scratch_ / "out"}, scratch_ / "o", scratch_ / "e");
  // When the first cell's events are there, the run is in the middle.
  while (test::read_file(scratch_ / "out/events.jsonl").empty()) {
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, WNOHANG), 0) << "it ended early: " << test::read_file(scratch_ / "e");
  }
  ::kill(pid, SIGINT);
  EXPECT_EQ(test::wait_for(pid), 130);
  EXPECT_THAT(test::read_file(scratch_ / "e"), HasSubstr("interrupted"));
  const Bundle bundle = read_bundle(scratch_ / "out");
  EXPECT_FALSE(bundle.events.empty());
  EXPECT_EQ(bundle.manifest["complete"], false);
}

TEST_F(SmolLM2, APromptIsANameOrAText) {
  const std::vector<std::string> trace = {"trace", "-m",    model_,         "--layers",
                                          "0",     "--out", scratch_ / "t", "-p"};
  const auto with = [&trace](std::string word) {
    std::vector<std::string> arguments = trace;
    arguments.push_back(std::move(word));
    return arguments;
  };
  const test::Outcome outcome = run_greta(with("The port wakes, slowly"));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("Next: greta diagnose "));
  const nlohmann::json manifest = parse(test::read_file(scratch_ / "t/manifest.json"));
  EXPECT_EQ(manifest["prompts"][0]["id"], "text");
  EXPECT_EQ(run_greta(with("wakes")).exit_code, 2);
  const test::Outcome isolate =
      run_greta({"isolate", "-m", model_, "-p", "One, two", "-p", "three four", "--layers", "0",
                 "--experiments", "E0", "--quick", "--json", "--out", scratch_ / "i"});
  ASSERT_EQ(isolate.exit_code, 0) << isolate.err;
  EXPECT_EQ(parse(isolate.out)["cells"].size(), 2u);
  const test::Outcome run = run_greta({"run", "-m", model_, "-n", "1", "--json", "-p", "p5_ba"});
  const test::Outcome ids =
      run_greta({"tokenize", "-m", model_, "--json", "Write one short sentence about Buenos Aires."});
  EXPECT_EQ(parse(run.out)["prompt_ids"], parse(ids.out)["ids"]);
  EXPECT_THAT(run_greta({"run", "-m", model_, "-p", "caf\xe9"}).err, HasSubstr("not a UTF-8 text (byte 3)"));
  EXPECT_THAT(run_greta({"run", "-m", model_, "text"}).err, HasSubstr("did you mean --prompt 'text'?"));
}

TEST_F(SmolLM2, TokenizeReadsStandardInputWhereNoTextIsGiven) {
  const std::string out = scratch_ / "ids";
  ASSERT_EQ(std::system(
                ("printf 'Hello world' | '" GRETA_PROGRAM "' tokenize -m '" + model_ + "' >" + out).c_str()),
            0);
  EXPECT_EQ(test::read_file(out), run_greta({"tokenize", "-m", model_, "Hello world"}).out);
}

/// Each does what its variable does.
TEST_F(SmolLM2, OptionsSayWhatVariablesSay) {
  const auto trace = [this](const std::string& name, std::vector<std::string> more,
                            const std::vector<std::string>& environment) {
    std::vector<std::string> arguments{"trace", "-m",    model_,  "--layers",     "0",
                                       "-p",    "p5_ba", "--out", scratch_ / name};
    arguments.insert(arguments.end(), more.begin(), more.end());
    EXPECT_EQ(run_greta(arguments, environment).exit_code, 0);
  };
  trace("a", {"--attn-pipe", scratch_ / "a.jsonl", "--attn-pipe-norm", "--prompt-id", "mine"}, {});
  trace("b", {},
        {"GRETA_TRACE_ATTN_L0_PIPE=1", "GRETA_TRACE_ATTN_L0_PIPE_OUT=" + (scratch_ / "b.jsonl"),
         "GRETA_TRACE_ATTN_L0_NORM=1", "GRETA_TRACE_PROMPT_ID=mine"});
  EXPECT_NE(test::read_file(scratch_ / "a.jsonl"), "");
  EXPECT_EQ(test::read_file(scratch_ / "a.jsonl"), test::read_file(scratch_ / "b.jsonl"));
  EXPECT_EQ(parse(test::read_file(scratch_ / "a/manifest.json"))["prompts"][0]["id"], "mine");
}

TEST_F(SmolLM2, TokenizeGoesBothWays) {
  const test::Outcome ids = run_greta({"tokenize", "-m", model_, "--json", "--", "Hello world"});
  ASSERT_EQ(ids.exit_code, 0) << ids.err;
  EXPECT_EQ(parse(ids.out), parse(R"({"ids": [19556, 905], "text": "Hello world"})"));
  const test::Outcome text = run_greta({"tokenize", "-m", model_, "--decode", "--", "19556", "905"});
  EXPECT_EQ(text.out, "Hello world\n");
}

TEST_F(SmolLM2, BenchAndPlanAndInfoSpeakJson) {
  const test::Outcome bench = run_greta(
      {"bench", "-m", model_, "--prompt-tokens", "8", "-n", "2", "-r", "1", "--depth", "0,16", "--json"});
  ASSERT_EQ(bench.exit_code, 0) << bench.err;
  for (const char* field :
       {"prefill_tok_s", "decode_tok_s", "weight_bytes", "decode_gb_s", "read_ceiling_gb_s"}) {
    EXPECT_GT(parse(bench.out)[field].get<double>(), 0) << field;
  }
  const nlohmann::json plan = parse(run_greta({"plan", "-m", model_, "--phase", "decode", "--json"}).out);
  EXPECT_EQ(plan["ops"].back()["stage"], "logits");
  EXPECT_GT(parse(run_greta({"info", "--json"}).out)["kernels"].size(), 30u);
}

}  // namespace
}  // namespace greta
