#include "engine/profile.h"

#include <gtest/gtest.h>

#include "engine/tiny_model.h"

namespace greta {
namespace {

const StageTime& find(const Profile& profile, const std::string& stage) {
  for (const StageTime& entry : profile.stages()) {
    if (entry.stage == stage) return entry;
  }
  throw std::runtime_error("no stage " + stage);
}

TEST(Profile, CountsTheWorkOfEveryStageAndChangesNoBit) {
  test::TinyEngine tiny(TensorType::q4_1);
  const std::vector<int32_t> tokens = test::random_tokens(7);
  const Plan plain = tiny.engine.plan(Phase::prefill, 16);
  Plan timed = plain;
  Profile profile;
  profile.attach(timed);

  Session a(tiny.engine, 16), b(tiny.engine, 16);
  const auto want = a.forward(plain, tokens), got = b.forward(timed, tokens);
  EXPECT_EQ(std::vector(want.begin(), want.end()), std::vector(got.begin(), got.end()));

  const StageTime& q = find(profile, "q");  // [64, 64], in 2 layers, 7 rows
  EXPECT_EQ(q.runs, 2);
  EXPECT_EQ(q.operations, 2.0 * 64 * 64 * 7 * 2);
  EXPECT_NE(q.kernel.find("gemm.q4_1"), std::string::npos);
  EXPECT_EQ(find(profile, "logits").operations, 2.0 * 64 * 80) << "the last row only";
  // 4 heads of 16; 1 + 2 + ... + 7 pairs of a query and a position it sees; scores and their mix; 2 layers.
  EXPECT_EQ(find(profile, "pv").operations, 2 * 2.0 * 4 * 16 * 28 * 2);
  EXPECT_EQ(find(profile, "quantize").runs, 2 * 4 + 1);
  EXPECT_GT(q.seconds, 0);

  profile.clear();
  EXPECT_EQ(find(profile, "q").runs, 0);
}

}  // namespace
}  // namespace greta
