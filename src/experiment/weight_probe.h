#pragma once
// How a kernel reads its weight, found out by asking it (GRETA_TRACE_QKV_W_VERIFY): with the one-hot input
// e_j a projection's output is column j of the matrix that it really multiplies with.

#include <vector>

#include "engine/plan_change.h"
#include "verdict/weight_probe.h"

namespace greta {

struct WeightProbeRequest {
  RouteTable routes = {};
  PlanChange change = {};
  std::vector<int> layers = {};
};

/// Probes q, k, v, attn_out, gate, up and down of the layers, in prefill (all one-hot rows in one block, S >
/// 1) and decode (one by one), through the very ops of the plan: faulty twins and the quantisation of
/// activations included. Faults that act at later positions or in longer blocks only do not show.
std::vector<WeightProbe> probe_weights(Engine& engine, const WeightProbeRequest& request);

}  // namespace greta
