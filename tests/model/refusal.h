#pragma once
// What is said of input that must be refused.

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace greta::test {

/// The message of the input Error that `act` throws; fails the test when there is none, or when it is not one
/// line.
template <class Act>
std::string refusal_of(Act act) {
  try {
    act();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.kind(), ErrorKind::input) << message;
    EXPECT_EQ(message.find('\n'), message.npos) << message;
    return message;
  }
  ADD_FAILURE() << "nothing was refused";
  return "";
}

}  // namespace greta::test
