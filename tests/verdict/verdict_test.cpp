#include "verdict/verdict.h"

#include <gtest/gtest.h>

#include <set>

namespace greta {
namespace {

template <class Status>
std::set<std::string_view> names_up_to(Status last) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(last); ++i) names.insert(name(static_cast<Status>(i)));
  return names;
}

TEST(Status, HasItsPublicNames) {
  EXPECT_EQ(names_up_to(RunStatus::vacuous),
            (std::set<std::string_view>{"EQUAL", "ROUNDING", "FAULT", "HARNESS_SUSPECT",
                                        "UNDECLARED_ARITHMETIC", "INCONCLUSIVE", "INERT_FACTOR", "VACUOUS"}));
  EXPECT_EQ(names_up_to(PairStatus::missing),
            (std::set<std::string_view>{"EQUAL", "ROUNDING", "FAULT", "PROPAGATED", "MISSING"}));
  EXPECT_EQ(name(FlagKind::inert_factor), "INERT_FACTOR");
  EXPECT_EQ(name(FlagKind::vacuous), "VACUOUS");
  EXPECT_EQ(name(FlagKind::harness_suspect), "HARNESS_SUSPECT");
  EXPECT_EQ(name(FlagKind::undeclared_arithmetic), "UNDECLARED_ARITHMETIC");
}

TEST(Status, DecidesTheExitCode) {
  EXPECT_EQ(exit_code(RunStatus::equal), 0);
  EXPECT_EQ(exit_code(RunStatus::rounding), 0);
  EXPECT_EQ(exit_code(RunStatus::fault), 1);
  for (const RunStatus status : {RunStatus::inert_factor, RunStatus::vacuous, RunStatus::inconclusive,
                                 RunStatus::harness_suspect, RunStatus::undeclared_arithmetic})
    EXPECT_EQ(exit_code(status), 4) << name(status);
}

TEST(Finding, IsCalledByItsCause) {
  Finding finding;
  finding.best = "norm_eps";
  EXPECT_EQ(finding.hypothesis(), "unexplained");
  finding.cause = Cause::ambiguous;
  EXPECT_EQ(finding.hypothesis(), "ambiguous");
  finding.cause = Cause::named;
  EXPECT_EQ(finding.hypothesis(), "norm_eps");
}

}  // namespace
}  // namespace greta
