#pragma once
// `greta compare` as a document and as JSON.

#include <nlohmann/json_fwd.hpp>

#include "report/document.h"
#include "verdict/comparison.h"

namespace greta::report {

/// The stages that say something, at most forty; runs that one side lacks; the verdict.
Document comparison_report(const BundleComparison& result);

/// "greta.comparison/1": every stage that differs.
nlohmann::json comparison_json(const BundleComparison& result);

}  // namespace greta::report
