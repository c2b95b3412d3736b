#include "base/nearest.h"

#include <gtest/gtest.h>

namespace greta {
namespace {

const std::vector<std::string> kCommands = {"isolate", "diagnose", "compare", "run", "faults"};

TEST(Nearest, NamesWhatWasProbablyMeant) {
  EXPECT_EQ(did_you_mean("isolat", kCommands), "; did you mean isolate?");
  EXPECT_EQ(did_you_mean("isolaet", kCommands), "; did you mean isolate?");
  EXPECT_EQ(did_you_mean("compair", kCommands), "; did you mean compare?");
  EXPECT_EQ(did_you_mean("diag", kCommands), "; did you mean diagnose?");
  EXPECT_EQ(did_you_mean("rnu", kCommands), "; did you mean run?");
}

TEST(Nearest, IsSilentWhereNothingIsNear) {
  for (const char* word : {"", "x", "perplexity", "frobnicate"})
    EXPECT_EQ(did_you_mean(word, kCommands), "") << word;
  EXPECT_EQ(did_you_mean(std::string(100000, 'i'), kCommands), "");
  EXPECT_EQ(did_you_mean("isolate", {}), "");
}

}  // namespace
}  // namespace greta
