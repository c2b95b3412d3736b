// What is said of runs that differ, by which runs do: made-up ones.

#include "experiment/plan_difference.h"

#include <gmock/gmock.h>

#include "engine/tiny_model.h"

namespace greta {
namespace {

using testing::SizeIs;

class PlanDifferenceTest : public testing::Test {
 protected:
  using Differs = std::function<bool(const Plan& plan, bool fast, bool used)>;

  /// The cause named where the runs that `differs` says differ.
  std::string cause_of(const Differs& differs) {
    const Program program(tiny_.engine, request_);
    const auto snapshot = [](bool wrong) {
      Snapshot made;
      made.length = 1;
      made.cache.assign(2, std::vector<float>(4, 1.0f));
      if (wrong) made.cache[0][1] = 2.0f;
      return made;
    };
    PlanTrial trial{.phase = Phase::prefill, .recorded = snapshot(false)};
    trial.first = *first_deviation(trial.recorded, snapshot(true));
    trial.run = [&](const Making& making, bool used) {
      return snapshot(differs(program.plan(Phase::prefill, 2, true, making), making.fast, used));
    };
    const auto found = why_plan_differs(program, trial, [](const std::string&) {});
    EXPECT_THAT(found, SizeIs(1));
    return std::string(found.front().hypothesis());
  }

  /// Whether the threads meet after every op.
  static bool meets_always(const Plan& plan) {
    return std::count_if(plan.ops().begin(), plan.ops().end(), [](const Op& op) { return action_of(op); }) *
               2 >=
           std::ssize(plan.ops());
  }

  test::TinyEngine tiny_{TensorType::q4_1};
  MatrixRequest request_;
};

TEST_F(PlanDifferenceTest, OpsThatReadWhatABufferHeldAreNotTakenForAFusedKernel) {
  EXPECT_EQ(cause_of([](const Plan&, bool fast, bool used) { return fast || used; }), "unused_is_read");
}

TEST_F(PlanDifferenceTest, MeetingsThatAlwaysHelpAreMissing) {
  EXPECT_EQ(cause_of([](const Plan& plan, bool fast, bool) { return fast && !meets_always(plan); }),
            "missing_barrier");
}

TEST_F(PlanDifferenceTest, MeetingsThatHelpSometimesAreNot) {
  int met = 0;
  EXPECT_NE(cause_of([&](const Plan& plan, bool fast, bool) {
              return fast && (!meets_always(plan) || ++met == 5);
            }),
            "missing_barrier");
}

TEST_F(PlanDifferenceTest, WhatIsRightTheSecondTimeIsNotRepeatable) {
  EXPECT_EQ(cause_of([](const Plan&, bool, bool) { return false; }), "not_repeatable");
}

}  // namespace
}  // namespace greta
