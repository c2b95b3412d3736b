// Recordings of models that GRETA knows in part: judged where it knows, exit 4, and what it does not know by
// name.

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "e2e/program.h"
#include "io/archive.h"

namespace greta {
namespace {

using test::run_greta;
using testing::Contains;
using testing::HasSubstr;

class HalfKnown : public testing::Test {
 protected:
  HalfKnown() {
    const auto files = read_archive(GRETA_SOURCE_DIR "/tests/goldens/architectures/llama.tgz",
                                    [](const std::string& name) { return name == "model.gguf"; });
    const auto& bytes = files.at("model.gguf");
    std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    write("llama.gguf", text);
    // The same under a name that no table has: its value, and the prefix of its keys.
    const std::string value = std::string("\x08\0\0\0\x05\0\0\0\0\0\0\0", 12) + "llama";
    text.replace(text.find("general.architecture" + value) + 20 + 12, 5, "nobod");
    for (size_t at = 0; (at = text.find("llama.", at)) != text.npos;) text.replace(at, 6, "nobod.");
    write("nobody.gguf", text);
  }

  void write(const std::string& name, const std::string& bytes) const {
    std::ofstream(scratch_ / name, std::ios::binary) << bytes;
  }

  std::string trace(const std::string& fault) const {
    const std::string out = scratch_ / ("trace-" + fault);
    std::vector<std::string> words{"trace", "-m", scratch_ / "llama.gguf", "-p", "ab cd ef", "--out", out};
    if (!fault.empty()) words.insert(words.end(), {"--inject", fault});
    EXPECT_EQ(run_greta(words).exit_code, 0);
    return out;
  }

  test::Outcome diagnose(const std::string& bundle) const {
    return run_greta({"diagnose", bundle, "-m", scratch_ / "nobody.gguf", "--force", "--json"});
  }

  test::Scratch scratch_;
};

TEST_F(HalfKnown, IsJudgedWhereItIsKnown) {
  const test::Outcome outcome = diagnose(trace(""));
  EXPECT_EQ(outcome.exit_code, 4);
  EXPECT_THAT(outcome.err, HasSubstr("the architecture 'nobod' is not supported"));
  const auto verdict = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(verdict["verdict"], "INCONCLUSIVE");
  EXPECT_TRUE(verdict["findings"].empty());
  EXPECT_GT(verdict["coverage"]["judged_alone"], 4 * 9);  // projections and norms of four layers, at least
  const auto skipped = verdict["coverage"]["skipped"].get<std::vector<std::string>>();
  for (const std::string stage : {"x_in", "q_rope", "kv_write", "qk", "softmax", "pv", "x_attn", "act"})
    EXPECT_THAT(skipped,
                Contains(HasSubstr("L0 " + stage + ": not known: how this model computes " + stage)));
  for (const std::string stage : {"attn_norm", "q", "k", "v", "attn_out", "ffn_norm", "gate", "up", "down"})
    EXPECT_THAT(skipped, Not(Contains(HasSubstr("L0 " + stage + ":")))) << stage;
}

TEST_F(HalfKnown, AFaultInWhatIsKnownIsFoundAndNamed) {
  const test::Outcome outcome = diagnose(trace("wq_column_major@prefill"));
  EXPECT_EQ(outcome.exit_code, 1);
  const auto verdict = nlohmann::json::parse(outcome.out);
  ASSERT_FALSE(verdict["findings"].empty());
  EXPECT_EQ(verdict["findings"][0]["stage"], "q");
  EXPECT_EQ(verdict["findings"][0]["hypothesis"], "weight_column_major");
}

TEST_F(HalfKnown, WhatRunsAModelNeedsAllOfIt) {
  for (const char* command : {"run", "isolate"}) {
    const test::Outcome outcome = run_greta({command, "-m", scratch_ / "nobody.gguf", "-p", "ab cd"});
    EXPECT_EQ(outcome.exit_code, 2) << command;
    EXPECT_THAT(outcome.err, HasSubstr("the architecture 'nobod' is not supported")) << command;
  }
}

}  // namespace
}  // namespace greta
