#pragma once
// `greta bound` as a document and as JSON.

#include <nlohmann/json_fwd.hpp>

#include "report/document.h"
#include "verdict/bound.h"

namespace greta::report {

/// For 80 columns: the bound, where it is met, what was derived and what was measured.
Document bound_report(const RoundingBound& result);

/// "greta.bound/1" (docs/bounds.md).
nlohmann::json bound_json(const RoundingBound& result);

}  // namespace greta::report
