#pragma once
// Whether the threads meet wherever a plan's ops need it: by what the ops read and write, not by a run. A
// race need not happen while somebody looks.

#include <optional>
#include <span>

#include "engine/plan.h"
#include "verdict/verdict.h"

namespace greta {

/// Two ops that touch the same, one of them by writing, and that no meeting of the threads keeps apart.
struct Unmet {
  enum class Order { read_after_write, write_after_read, write_after_write };
  const Op* earlier = nullptr;  // of the plan
  const Op* later = nullptr;
  Order order = Order::read_after_write;
  BufferId buffer = kNoBuffer;  // kNoBuffer: the later op's layer of the KV cache
};

/// The first later op of such a pair, with the nearest earlier one.
std::optional<Unmet> first_unmet(std::span<const Op> ops);

/// What to say of it: named, with its place, without cells and without a difference of runs.
Finding unmet_finding(const Plan& plan, const Unmet& unmet);

}  // namespace greta
