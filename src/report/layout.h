#pragma once
// Text in columns, as a terminal shows it.

#include <string>
#include <string_view>

namespace greta::report {

inline constexpr size_t kColumns = 80;

/// Code points, which is what a terminal shows in a column each (wide scripts apart).
size_t width(std::string_view text);

/// `text` in exactly `columns`: padded on the right, or cut with a "~".
std::string fit(std::string text, size_t columns);

/// Words filled into lines of at most `columns`; the first is indented by `indent`, the others by `hang`
/// blanks. Only a word that is longer than a line makes a longer one (a path must stay whole).
std::string wrap(std::string_view indent, std::string_view text, size_t hang, size_t columns = kColumns);

}  // namespace greta::report
