#pragma once
// `greta selftest --metamorphic` as a document and as JSON.

#include <nlohmann/json_fwd.hpp>

#include "report/document.h"
#include "verdict/metamorphic.h"

namespace greta::report {

/// A row per check, at most 80 columns; what failed says where.
Document metamorphic_report(const std::vector<MetamorphicCheck>& checks);

/// {"checks": [...], "passed": n, "failed": n, "not_applicable": n}
nlohmann::json metamorphic_json(const std::vector<MetamorphicCheck>& checks);

}  // namespace greta::report
