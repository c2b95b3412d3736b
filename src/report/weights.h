#pragma once
// GRETA_TRACE_QKV_W_VERIFY=1: how kernels read their weights, as a document and as JSON.

#include <nlohmann/json_fwd.hpp>

#include "report/document.h"
#include "verdict/weight_probe.h"

namespace greta::report {

/// A row per weight, phase and run of layers with the same layout, at most 80 columns.
Document weights_report(const std::vector<WeightProbe>& probes);

/// {"schema": ..., "probes": [...], "row": n, "column": n, "neither": n}
nlohmann::json weights_json(const std::vector<WeightProbe>& probes);

}  // namespace greta::report
