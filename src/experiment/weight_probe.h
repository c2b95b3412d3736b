#pragma once
// How a kernel reads its weight, found out by asking it (GRETA_TRACE_QKV_W_VERIFY): with the one-hot input
// e_j a projection's output is column j of the matrix that it really multiplies with.

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/plan_change.h"

namespace greta {

/// What one projection of one phase multiplies with.
struct WeightProbe {
  Phase phase = Phase::prefill;
  int layer = 0;
  Stage stage = Stage::q;
  /// "row": W as the file has it; "column": element (i, j) of W [n, k] is taken from place j * n + i of the
  /// dequantised row-major buffer; "neither".
  std::string layout;
  /// Worst |output - reading| over the probed columns, relative to the reading's largest magnitude in that
  /// column. Infinite where the output is not finite.
  double error_row = 0, error_column = 0;
  std::string kernel;            // that ran, by its own word
  std::vector<int64_t> columns;  // probed j: the first, the last and a fixed sample
};

struct WeightProbeRequest {
  RouteTable routes = {};
  PlanChange change = {};
  std::vector<int> layers = {};
};

/// Probes q, k, v, attn_out, gate, up and down of the layers, in prefill (all one-hot rows in one block, S >
/// 1) and decode (one by one), through the very ops of the plan: faulty twins and the quantisation of
/// activations included. Faults that act at later positions or in longer blocks only do not show.
std::vector<WeightProbe> probe_weights(Engine& engine, const WeightProbeRequest& request);

/// {"schema": ..., "probes": [...], "row": n, "column": n, "neither": n}
nlohmann::json to_json(const std::vector<WeightProbe>& probes);

}  // namespace greta
