#pragma once
// `greta whatif` as a document, as JSON and as a plot.

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "report/document.h"
#include "verdict/whatif.h"

namespace greta::report {

/// For 80 columns: the units, drift over layers, bias of the sums, stages (worst over layers, prefill).
Document whatif_report(const WhatIf& result);

/// "greta.whatif/1" (docs/whatif.md).
nlohmann::json whatif_json(const WhatIf& result);

/// Drift over layers, log scale, one line per unit. Units that do not differ at all are in the legend only.
std::string whatif_svg(const WhatIf& result);

/// The reference by its name in all of them.
inline constexpr const char* kReferenceName = "cpu, vector route (f32 FMA)";

}  // namespace greta::report
