// Bad usage and bad input: one clear line, exit 2, nothing written.

#include <gmock/gmock.h>

#include <sstream>

#include "e2e/program.h"
#include "engine/tiny_model.h"

namespace greta {
namespace {

using test::Bytes;
using test::run_greta;
using test::Scratch;
using testing::HasSubstr;

/// Runs isolate on `model` and expects exit 2, one line on stderr with `part`, and no directory.
void expect_refused(const std::string& model, const std::string& part) {
  const Scratch scratch;
  const test::Outcome outcome = run_greta({"isolate", "-m", model, "--out", scratch / "out"});
  EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr(part));
  EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_FALSE(test::fs::exists(scratch / "out"));
}

TEST(BadModel, ThatIsNoFile) {
  const Scratch scratch;
  expect_refused(scratch / "missing.gguf", "No such file");
  expect_refused(scratch / "", "has neither model.safetensors nor");
  test::write_file(scratch / "empty.gguf", "");
  expect_refused(scratch / "empty.gguf", "is empty");
  test::write_file(scratch / "text.gguf", "This is not a model at all, only some text.");
  expect_refused(scratch / "text.gguf", "text.gguf");
}

TEST(BadModel, CutShort) {
  const Scratch scratch;
  const Bytes whole = test::random_llama(TensorType::q4_1);
  for (size_t size = 1; size < whole.size(); size += whole.size() / 23) {
    test::write_file(scratch / "cut.gguf", whole.substr(0, size));
    expect_refused(scratch / "cut.gguf", "cut.gguf");
  }
}

TEST(BadModel, OfAnotherKind) {
  const Scratch scratch;
  test::GgufBuilder builder = test::tiny_llama();
  builder.set_string("general.architecture", "mamba");
  test::write_file(scratch / "m.gguf", builder.build());
  expect_refused(scratch / "m.gguf", "mamba");

  builder = test::tiny_llama();
  builder.tensor("blk.0.attn_q.weight").type = 999;
  test::write_file(scratch / "m.gguf", builder.build());
  expect_refused(scratch / "m.gguf", "999");

  builder = test::tiny_llama();
  builder.tensor("blk.0.attn_q.weight").dims = {8, 4};
  test::write_file(scratch / "m.gguf", builder.build());
  expect_refused(scratch / "m.gguf", "blk.0.attn_q.weight");

  builder = test::tiny_llama();
  builder.erase_tensor("blk.1.ffn_up.weight");
  test::write_file(scratch / "m.gguf", builder.build());
  expect_refused(scratch / "m.gguf", "blk.1.ffn_up.weight");
}

TEST(BadUsage, ExitsWith2) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{},
                                             {"nonsense"},
                                             {"isolate"},
                                             {"isolate", "-m", "m.gguf", "--tensors", "some"},
                                             {"isolate", "-m", "m.gguf", "--threads", "0"},
                                             {"isolate", "-m", "m.gguf", "--threads", "two"},
                                             {"isolate", "-m", "m.gguf", "--experiments", "E7"},
                                             {"isolate", "-m", "m.gguf", "--unknown"},
                                             {"isolate", "-m", "m.gguf", "--route", "q=quantum"},
                                             {"plan", "-m", "m.gguf", "--phase", "middle"}}) {
    const test::Outcome outcome = run_greta(arguments);
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_THAT(outcome.err, ::testing::StartsWith("greta: "));
    EXPECT_EQ(outcome.out, "");
  }
}

TEST(BadUsage, NamesWhatIsUnknownRatherThanWhatIsMissing) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"frob"}, {"isolate", "frob"}, {"compare", "a", "--frob"}}) {
    EXPECT_THAT(run_greta(arguments).err,
                ::testing::MatchesRegex(
                    "greta: unknown (option --|command .|)frob.*|greta: .frob. was not expected.*"));
  }
}

TEST(BadUsage, OfTheEnvironmentNamesTheVariable) {
  for (const std::string setting : {"GRETA_QKV_FORCE_ROUTE=tensor", "GRETA_QKV_FORCE_GEMM=yes",
                                    "GRETA_ISA=sse9", "GRETA_TRACE_ATTN_L0_PIPE=2"}) {
    const test::Outcome outcome = run_greta({"info"}, {setting});
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(setting.substr(0, setting.find('='))));
  }
}

TEST(Help, HasAnExampleInEveryCommand) {
  for (const char* command :
       {"isolate", "compare", "trace", "run", "bench", "plan", "info", "faults", "hypotheses", "tokenize"}) {
    const test::Outcome outcome = run_greta({command, "--help"});
    EXPECT_EQ(outcome.exit_code, 0);
    EXPECT_THAT(outcome.out, HasSubstr("Example: greta")) << command;
  }
  EXPECT_EQ(run_greta({"--version"}).exit_code, 0);
}

TEST(Help, ListsFitTheTerminal) {
  for (const char* command : {"faults", "hypotheses"}) {
    std::istringstream lines(run_greta({command}).out);
    for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  }
}

}  // namespace
}  // namespace greta
