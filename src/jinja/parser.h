#pragma once
// Tokens to a tree.

#include <string_view>

#include "jinja/lexer.h"
#include "jinja/syntax.h"

namespace greta::jinja {

/// The grammar is that of jinja2 3.1 (parser.py) with the extension loopcontrols and transformers'
/// generation, less what asks for other files. Throws a SyntaxError.
Body parse(std::string_view template_text);

}  // namespace greta::jinja
