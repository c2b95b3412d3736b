#pragma once
// A conversation as the text that the model was trained on: its own template (tokenizer.chat_template), run.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/model_file.h"

namespace greta {

struct ChatMessage {
  std::string role;  // system, user, assistant; a template may know others
  std::string content;
};

/// What transformers' apply_chat_template() gives for the template with the assistant's turn opened, no tools
/// and no documents; `tokens`: texts of special tokens by their names there ("bos_token", ...). Throws an
/// input Error as jinja::render() does, for an invalid text too.
std::string render_chat(std::string_view template_text, std::string_view label,
                        std::span<const std::pair<std::string, std::string>> tokens,
                        std::span<const ChatMessage> messages);

/// The same for a GGUF file, less a BOS that Tokenizer::encode() will put first. Throws also for a file
/// without a template.
std::string apply_chat_template(const ModelFile& file, std::span<const ChatMessage> messages);

/// A template for a model that has none, by the marks of turns among its tokens (base models have them, too).
std::optional<std::string_view> template_by_tokens(const ModelFile& file);

}  // namespace greta
