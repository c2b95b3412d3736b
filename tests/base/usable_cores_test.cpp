#include "base/usable_cores.h"

#include <gtest/gtest.h>

namespace greta {
namespace {

TEST(UsableCores, ReadsCgroupQuotas) {
  EXPECT_EQ(parse_cpu_max("200000 100000\n"), 2.0);
  EXPECT_EQ(parse_cpu_max("150000 100000\n"), 1.5);
  for (const char* unlimited : {"max 100000\n", "", "100000", "-1 100000", "x y", "0 100000", "1 0"}) {
    EXPECT_EQ(parse_cpu_max(unlimited), std::nullopt) << unlimited;
  }
}

TEST(UsableCores, CountsHyperThreadsOnce) {
  EXPECT_EQ(count_cores({"0,2", "1,3", "0,2", "1,3"}), 2);
  EXPECT_EQ(count_cores({"0", "1"}), 2);
  EXPECT_EQ(count_cores({"0-1"}), 1);
}

TEST(UsableCores, IsAtLeastOneAndAtMostTheMask) {
  EXPECT_GE(usable_cores(), 1);
  EXPECT_LE(usable_cores(), allowed_cpus());
}

}  // namespace
}  // namespace greta
