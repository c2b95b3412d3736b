#pragma once
// What a report may show of a verdict: its strings come from a bundle and a model file, which may hold
// anything.

#include "verdict/verdict.h"

namespace greta::report {

/// The verdict with every string made printable() (base/printable.h). For reports that people read: JSON has
/// escapes of its own.
Verdict printable_verdict(Verdict verdict);

/// printable() text that fits a cell of a Markdown table: without bars and backticks.
std::string table_cell(std::string_view text);

}  // namespace greta::report
