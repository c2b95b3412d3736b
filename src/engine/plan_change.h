#pragma once
// A change of the program that an engine would run: of the routes that its plans are made with, and of the
// plans. A fault is one; whoever records a run need not know what it is.

#include <functional>

#include "engine/engine.h"
#include "engine/plan_edit.h"

namespace greta {

struct PlanChange {
  std::function<RouteTable(const RouteTable& wanted, Phase phase)> routes = {};  // empty: as wanted
  std::function<void(PlanEdit& edit)> edit = {};                                 // empty: as made
};

/// Both changes, the first one first.
PlanChange then(PlanChange first, PlanChange second);

/// The engine's plan (or its fast plan) under a change. Input Errors as of Engine::plan, and what the change
/// throws.
Plan changed_plan(const Engine& engine, Phase phase, int64_t max_rows, const RouteTable& wanted,
                  const PlanChange& change, bool logits = true, bool fast = false);

}  // namespace greta
