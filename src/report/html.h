#pragma once
// Documents as HTML: no style, no script, nothing of a stranger's text that a browser would heed.

#include <string>
#include <string_view>

#include "report/document.h"

namespace greta::report {

/// Text that shows as it is, in an element or in an attribute's quotes: printable, and < > & " ' as entities.
std::string html_text(std::string_view text);

/// Inline: what stands between two ` as code.
std::string html_words(std::string_view text);

/// Blocks in order. What follows a heading of level 3, up to the next heading, folds. Maps stay as they are
/// drawn for text.
std::string to_html(const Document& document);

}  // namespace greta::report
