#pragma once
// String literals of a Jinja template's text, found without running it. Linear in the size of the template.

#include <optional>
#include <string>
#include <string_view>

namespace greta {

/// The default system message: a literal (quoted, or plain template text) that has `open`, a text and `close`
/// in one piece, which templates write for a conversation
/// that does not begin with a system message. The first one.
std::optional<std::string> default_system_message(std::string_view template_text, std::string_view open,
                                                  std::string_view close);

/// The literal of the first `NAME = "literal"`.
std::optional<std::string> assigned_literal(std::string_view template_text, std::string_view name);

}  // namespace greta
