// Any template text is a chat format or an input Error. Input: the template, a zero byte, then contents of
// messages separated by zero bytes, spoken in turn by system, user and assistant.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "../model/tiny_tokenizer.h"
#include "base/error.h"
#include "model/chat_template.h"
#include "model/gguf.h"

namespace {

std::vector<std::string_view> split_at_zeros(std::string_view text) {
  std::vector<std::string_view> parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find('\0', at), text.size());
    parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr std::array roles{"system", "user", "assistant"};
  const auto parts = split_at_zeros({reinterpret_cast<const char*>(data), size});
  std::vector<greta::ChatMessage> messages;
  for (size_t i = 1; i < parts.size(); ++i) {
    messages.push_back({roles[i == 1 ? 0 : 1 + i % 2], std::string(parts[i])});
  }
  auto builder = greta::test::tiny_spm();
  builder.set_string("tokenizer.chat_template", parts[0]);
  const auto bytes = builder.build();
  try {
    const auto file = greta::parse_gguf(std::as_bytes(std::span(bytes)), "fuzz");
    greta::apply_chat_template(file, messages);
  } catch (const greta::Error& error) {
    if (error.kind() != greta::ErrorKind::input) std::abort();
  }
  return 0;
}
