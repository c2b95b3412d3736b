#pragma once
// Does a family's rendering say what a model's own Jinja template says, and nothing else? Asked of the
// template's literals, without running it. Branches that a conversation can't reach are left out; what it may
// reach has to be in the rendering. What is not certain counts as a difference; but a template that has the
// family's literals and another logic (a condition turned round) is not found out.

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace greta {

/// What `template_text` writes for text messages of these `roles`, in order, and `rendering` does not have,
/// or the other way round, as the end of a sentence; nullopt when they agree. Branches that such messages
/// can't reach (tools, documents, other roles) are left out. `contents` are the messages' own texts within
/// `rendering`, `marks` what the template writes by name (roles, BOS, EOS); `trims`: the rendering trims
/// where the template does.
std::optional<std::string> chat_difference(std::string_view template_text, std::span<const std::string> roles,
                                           std::string_view rendering, std::span<const std::string> contents,
                                           std::span<const std::string> marks, bool trims);

}  // namespace greta
