#pragma once
// What a GGUF test says about a file that must be refused.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "model/gguf.h"

namespace greta::test {

inline std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// The message of the input Error that `act` throws; fails the test when there is none, or when it is not one
/// line that starts with the file's label.
template <class Act>
std::string input_error(Act act) {
  try {
    act();
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.kind(), ErrorKind::input) << message;
    EXPECT_EQ(message.find('\n'), message.npos) << message;
    EXPECT_TRUE(message.starts_with("test.gguf: ")) << message;
    EXPECT_LT(message.size(), 500u) << message;
    return message;
  }
  ADD_FAILURE() << "nothing was refused";
  return "";
}

inline std::string parse_error(std::string_view file) {
  return input_error([&] { parse_gguf(as_bytes(file), "test.gguf"); });
}

}  // namespace greta::test
