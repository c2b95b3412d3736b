#include "engine/plan_change.h"

namespace greta {

Plan changed_plan(const Engine& engine, Phase phase, int64_t max_rows, const RouteTable& wanted,
                  const PlanChange& change, bool logits) {
  Plan plan = engine.plan(phase, max_rows, change.routes ? change.routes(wanted, phase) : wanted, logits);
  if (change.edit) change.edit(plan);
  return plan;
}

}  // namespace greta
