// A directory for a while: its own, and gone with what was left in it.

#include "io/scratch.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace greta {
namespace {

TEST(ScratchDirectory, IsGoneWithWhatIsInIt) {
  std::string path;
  {
    const ScratchDirectory one("greta-scratch-test"), other("greta-scratch-test");
    path = one.path();
    EXPECT_NE(path, other.path());
    std::ofstream(path + "/file") << "text";
    EXPECT_TRUE(std::filesystem::exists(path + "/file"));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

}  // namespace
}  // namespace greta
