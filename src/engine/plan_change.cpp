#include "engine/plan_change.h"

namespace greta {

Plan changed_plan(const Engine& engine, Phase phase, int64_t max_rows, const RouteTable& wanted,
                  const PlanChange& change, bool logits, bool fast) {
  const RouteTable routes = change.routes ? change.routes(wanted, phase) : wanted;
  Plan plan =
      fast ? engine.fast_plan(phase, max_rows, routes, logits) : engine.plan(phase, max_rows, routes, logits);
  if (change.edit) change.edit(plan);
  return plan;
}

}  // namespace greta
