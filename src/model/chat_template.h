#pragma once
// Chat formats by family, recognised by marks in the model's own template (tokenizer.chat_template).

#include <span>
#include <string>
#include <string_view>

#include "model/gguf.h"

namespace greta {

struct ChatMessage {
  std::string role;  // system, user, assistant
  std::string content;
};

/// The prompt for `messages` with the assistant's turn opened, in the format of the family that the template
/// belongs to. Throws an input Error when the file has no template or its family is not known; the message lists
/// the known ones.
std::string apply_chat_template(const Gguf& file, std::span<const ChatMessage> messages);

/// The family's name ("chatml", "llama3", "gemma", ...) of a template's text, or "" when it is not known.
std::string_view chat_family(std::string_view template_text);

}  // namespace greta
