#include "engine/plan_change.h"

namespace greta {

PlanChange then(PlanChange first, PlanChange second) {
  PlanChange both;
  both.routes = [first = first.routes, second = second.routes](const RouteTable& wanted, Phase phase) {
    const RouteTable routes = first ? first(wanted, phase) : wanted;
    return second ? second(routes, phase) : routes;
  };
  both.edit = [first = std::move(first.edit), second = std::move(second.edit)](PlanEdit& edit) {
    if (first) first(edit);
    if (second) second(edit);
  };
  return both;
}

Plan changed_plan(const Engine& engine, Phase phase, int64_t max_rows, const RouteTable& wanted,
                  const PlanChange& change, bool logits, bool fast) {
  const RouteTable routes = change.routes ? change.routes(wanted, phase) : wanted;
  Plan plan =
      fast ? engine.fast_plan(phase, max_rows, routes, logits) : engine.plan(phase, max_rows, routes, logits);
  if (change.edit) {
    PlanEdit edit(plan);
    change.edit(edit);
    edit.commit();
  }
  return plan;
}

}  // namespace greta
