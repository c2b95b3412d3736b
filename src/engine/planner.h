#pragma once
// From a model and a configuration to a plan. One layer description serves prefill and decode.

#include "engine/plan.h"
#include "engine/weights.h"
#include "model/model.h"

namespace greta {

struct PlanRequest {
  Phase phase = Phase::prefill;
  int64_t max_rows = 1;  // the largest block S; 1 makes an S = 1 plan (GEMV, unless GEMM is forced)
  bool logits = true;    // of the block's last row; false fills the cache only
  Isa isa = Isa::scalar;
  RouteTable routes;
  std::string device = "cpu";       // KernelInfo::device; of "sim:mi300x" the projections, else all ops
  Format sim_input = Format::bf16;  // what a simulated matrix unit multiplies
  bool invariant = false;           // on a simulated device: one order of sums, the GEMM's, in both phases
};

/// `weights` must be those of `model` and outlive the plan. Throws an input Error, naming the projection and
/// the reason, for a forced route or shape that can't run: there is no silent fallback.
Plan make_plan(const Model& model, const Weights& weights, const PlanRequest& request);

}  // namespace greta
