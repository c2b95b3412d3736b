// What GRETA makes of chat templates, for chat_templates.py: reads {"template": ..., "messages": [[role,
// content], ...]} a line, writes {"text": ...} or {"error": ...} a line. BOS is <s>, EOS </s>.

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "model/chat_template.h"
#include "model/gguf.h"
#include "tiny_tokenizer.h"

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    const auto request = nlohmann::json::parse(line);
    std::vector<greta::ChatMessage> messages;
    for (const auto& message : request["messages"]) messages.push_back({message[0], message[1]});
    auto builder = greta::test::tiny_spm();
    builder.set_string("tokenizer.chat_template", request["template"].get<std::string>());
    const auto bytes = builder.build();
    nlohmann::json answer;
    try {
      const auto file = greta::parse_gguf(std::as_bytes(std::span(bytes)), "template");
      answer["text"] = greta::apply_chat_template(file, messages);
    } catch (const greta::Error& error) {
      answer["error"] = error.what();
    }
    std::cout << answer.dump() << "\n";
  }
}
