#pragma once
// What a GGUF test says about a file that must be refused.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <span>
#include <string>
#include <string_view>

#include "model/gguf.h"
#include "refusal.h"

namespace greta::test {

inline std::span<const std::byte> as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

/// The message of the input Error that `act` throws, which starts with the file's label.
template <class Act>
std::string input_error(Act act) {
  const std::string message = refusal_of(act);
  EXPECT_TRUE(message.starts_with("test.gguf: ")) << message;
  EXPECT_LT(message.size(), 500u) << message;
  return message;
}

inline std::string parse_error(std::string_view file) {
  return input_error([&] { parse_gguf(as_bytes(file), "test.gguf"); });
}

}  // namespace greta::test
