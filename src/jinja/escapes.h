#pragma once
// Escapes of str literals.

#include <string>
#include <string_view>

namespace greta::jinja {

/// What stands between the quotes, as Python's codec unicode-escape reads it; refuses surrogates and \N{...}.
std::string unescaped(std::string_view raw);

/// A character's bytes in UTF-8; `code_point` is no surrogate and at most U+10FFFF.
std::string utf8_of(uint32_t code_point);

}  // namespace greta::jinja
