#pragma once
// Python's str on well-formed UTF-8: positions are characters there.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greta::jinja {

/// The characters, each as its bytes.
std::vector<std::string_view> characters(std::string_view text);
size_t count_characters(std::string_view text);

/// str.isspace() of one character, given as its bytes; also what \s matches.
bool is_space(std::string_view character);

/// Without the characters of `chars` (white space where nullopt) at the sides that are asked for.
std::string_view stripped(std::string_view text, std::optional<std::string_view> chars = std::nullopt,
                          bool left = true, bool right = true);

/// str.split(separator, most); at white space where there is no separator. most < 0: all.
std::vector<std::string_view> split(std::string_view text, std::optional<std::string_view> separator,
                                    int64_t most);
/// str.splitlines().
std::vector<std::string_view> split_lines(std::string_view text);

/// str.replace(old, with, most); `old` is not empty. most < 0: all.
std::string replaced(std::string_view text, std::string_view old, std::string_view with, int64_t most);

/// Of ASCII only: other letters are refused.
std::string lower(std::string_view text);
std::string upper(std::string_view text);

/// repr(). Of Latin letters only: which other characters Python would print is a table of Unicode's.
std::string quoted(std::string_view text);

}  // namespace greta::jinja
