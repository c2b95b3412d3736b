#include "base/error.h"

#include <gtest/gtest.h>

namespace greta {
namespace {

template <class Throwing>
Error caught(Throwing throwing) {
  try {
    throwing();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no Error was thrown";
  return {ErrorKind::machine, ""};
}

TEST(Error, InputAndMachineCarryKindAndMessage) {
  const Error input = caught([] { fail_input("{} has {} tensors", "a.gguf", 3); });
  EXPECT_EQ(input.kind(), ErrorKind::input);
  EXPECT_STREQ(input.what(), "a.gguf has 3 tensors");
  const Error machine = caught([] { fail_machine("disk full after {} bytes", 12); });
  EXPECT_EQ(machine.kind(), ErrorKind::machine);
  EXPECT_STREQ(machine.what(), "disk full after 12 bytes");
}

// Scripts and CI gates branch on these (docs/architecture.md, "Exit codes").
TEST(Error, KindsAreTheExitCodes) {
  EXPECT_EQ(static_cast<int>(ErrorKind::input), 2);
  EXPECT_EQ(static_cast<int>(ErrorKind::machine), 3);
}

// Braces in a user's text must come out as they are, not as a format.
TEST(Error, ArgumentsAreNotFormats) {
  EXPECT_STREQ(caught([] { fail_input("{}: no such file", "{0}%s"); }).what(), "{0}%s: no such file");
}

}  // namespace
}  // namespace greta
