// LongRoPE has two tables, and which one an engine takes goes by the context that it was started for. A
// recording that does not say it is judged by what its RoPE shows; one that is wrong by either is wrong.

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "e2e/program.h"
#include "io/archive.h"

namespace greta {
namespace {

using test::run_greta;
using testing::HasSubstr;
using testing::Not;

class LongRope : public testing::Test {
 protected:
  LongRope() {
    const auto files = read_archive(GRETA_SOURCE_DIR "/tests/goldens/architectures/longrope_long.tgz",
                                    [](const std::string& name) { return name.ends_with("model.gguf"); });
    const auto& bytes = files.begin()->second;
    test::write_file(model_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }

  /// A short recording of a run for a long context; as of an engine that does not say it.
  std::string recorded(const std::vector<std::string>& more) const {
    const std::string out = scratch_ / "trace";
    std::vector<std::string> words{"trace", "-m", model_, "-p", "ab cd", "--context", "1024", "--out", out};
    words.insert(words.end(), more.begin(), more.end());
    EXPECT_EQ(run_greta(words).exit_code, 0);
    nlohmann::json manifest = nlohmann::json::parse(test::read_file(out + "/manifest.json"));
    EXPECT_EQ(manifest.erase("context"), 1u);
    test::write_file(out + "/manifest.json", manifest.dump());
    return out;
  }

  test::Scratch scratch_;
  std::string model_ = scratch_ / "model.gguf";
};

TEST_F(LongRope, IsTakenAsTheEngineShowsIt) {
  const test::Outcome outcome = run_greta({"diagnose", recorded({}), "-m", model_});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out;
  EXPECT_THAT(outcome.err, HasSubstr("LongRoPE's long factors are taken, as the recorded RoPE shows"));
}

TEST_F(LongRope, IsWrongWhereNeitherTableExplainsIt) {
  const test::Outcome outcome =
      run_greta({"diagnose", recorded({"--inject", "q_rope_next:1"}), "-m", model_});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.out, HasSubstr("the position of RoPE is off by +1"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("k_rope of layer 0 is wrong")));
}

}  // namespace
}  // namespace greta
