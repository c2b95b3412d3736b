#pragma once
// The forms in which a result can be had: the one list of them.

#include <string>
#include <string_view>
#include <vector>

#include "report/outcome.h"

namespace greta::report {

/// "html", "markdown", "json", "junit", "sarif", "github", "agent".
std::vector<std::string> format_names();

/// In one of the formats; an input Error naming them for another.
std::string in_format(const Report& report, std::string_view format);
std::string in_format(const BundleComparison& comparison, const std::string& a, const std::string& b,
                      std::string_view format);

}  // namespace greta::report
