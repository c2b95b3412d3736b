#pragma once
// The measured power of the diagnosis as text, Markdown and JSON.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "verdict/power.h"

namespace greta::report {

/// At most 80 columns: a line per class, totals against their thresholds, everything that was missed.
std::string power_terminal(const PowerResult& result);

/// The same as Markdown tables, for docs/detection-power.md.
std::string power_markdown(const PowerResult& result);

/// "greta.selftest/1":
/// summary (counts per result), totals, classes, faults (one entry each), stacked, clean, weakest.
nlohmann::json power_json(const PowerResult& result);

/// `document` with `measured` between its lines kPowerBegin and kPowerEnd. Throws an input Error naming
/// `path` when it has no such lines. An empty document becomes one that has them.
std::string with_measured(const std::string& document, const std::string& measured, const std::string& path);

inline constexpr const char* kPowerBegin = "<!-- measured: begin -->";
inline constexpr const char* kPowerEnd = "<!-- measured: end -->";

}  // namespace greta::report
