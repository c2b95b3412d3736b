#include "engine/engine.h"

#include "engine/plan_edit.h"

namespace greta {

Engine::Engine(Model model, const EngineOptions& options)
    : options_(options), model_(std::move(model)), pool_(options.threads), weights_(model_, pool_) {}

Plan Engine::plan(Phase phase, int64_t max_rows, const RouteTable& routes, bool logits) const {
  return make_plan(model_, weights_,
                   {.phase = phase,
                    .max_rows = max_rows,
                    .logits = logits,
                    .isa = options_.isa,
                    .routes = routes,
                    .device = options_.device,
                    .sim_input = options_.sim_input,
                    .invariant = options_.invariant});
}

Plan Engine::fast_plan(Phase phase, int64_t max_rows, const RouteTable& routes, bool logits) const {
  Plan fast = plan(phase, max_rows, routes, logits);
  PlanEdit(fast).fuse_quantize(options_.isa);
  return fast;
}

}  // namespace greta
