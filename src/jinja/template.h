#pragma once
// Chat templates as transformers renders them: Jinja2's language with the settings, functions and filters of
// transformers (utils/chat_template_utils.py). What is not known exactly is refused, never guessed.

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace greta::jinja {

/// What Jinja2 makes of `text` with the members of `variables` as its variables. The day is always 26 July
/// 2024 (strftime_now). Throws an input Error that begins with `label` and names the line: no template, a
/// construct that is not supported, what the template itself refuses (raise_exception), or one that takes too
/// long.
std::string render(std::string_view text, std::string_view label, const nlohmann::ordered_json& variables);

}  // namespace greta::jinja
