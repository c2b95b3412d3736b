#pragma once
// Chat formats by family, recognised by marks in the model's own template (tokenizer.chat_template). GRETA
// does not run the template: it knows the families' formats, reads from the template's text what differs
// within a family (a default system message, spaces around marks, trimming), and refuses a template whose
// literals say anything else (chat_coverage.h).

#include <span>
#include <string>
#include <string_view>

#include "model/model_file.h"

namespace greta {

struct ChatMessage {
  std::string role;  // system, user, assistant
  std::string content;
};

/// The prompt for `messages` with the assistant's turn opened, in the format of the family that the
/// template belongs to. It has no BOS: Tokenizer::encode() puts it first where the model wants one. Throws
/// an input Error when the file has no template, its family is not known (the message lists the known ones)
/// or the template says another thing than the family, and for a role that is none of the three or a system
/// message that is not the first where the family has a place for it only there. A template that asks for
/// the time gets none: its own default date stands, so that a prompt stays the same from day to day.
std::string apply_chat_template(const ModelFile& file, std::span<const ChatMessage> messages);

/// A family's format by its name, with a template's text to read the details from (may be empty); nothing
/// is said of what else the template would write.
std::string apply_chat_family(std::string_view family, std::string_view template_text, const ModelFile& file,
                              std::span<const ChatMessage> messages);

/// The family's name ("chatml", "llama3", "gemma", ...) of a template's text, or "" when it is not known.
std::string_view chat_family(std::string_view template_text);

/// The family of a model: by its template, or, without one, by the turn marks among its tokens (base models
/// have them too). "" when neither tells.
std::string_view chat_family(const ModelFile& file);

}  // namespace greta
