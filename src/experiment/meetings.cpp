#include "experiment/meetings.h"

#include <fmt/format.h>

#include <algorithm>

#include "experiment/program.h"
#include "experiment/run_cause.h"

namespace greta {
namespace {

/// What two ops both touch, the later one's reads first.
std::optional<Unmet> clash(const Op& earlier, const Op& later) {
  const auto reads = [](const Op& op, BufferId id) {
    return std::find(op.reads.begin(), op.reads.end(), id) != op.reads.end();
  };
  const auto found = [&](Unmet::Order order, BufferId id) { return Unmet{&earlier, &later, order, id}; };
  using enum Unmet::Order;
  if (earlier.writes != kNoBuffer && reads(later, earlier.writes))
    return found(read_after_write, earlier.writes);
  if (later.writes != kNoBuffer) {
    if (reads(earlier, later.writes)) return found(write_after_read, later.writes);
    if (earlier.writes == later.writes) return found(write_after_write, later.writes);
  }
  if (earlier.layer != later.layer || earlier.cache == CacheUse::none || later.cache == CacheUse::none)
    return std::nullopt;
  if (earlier.cache == CacheUse::writes)
    return found(later.cache == CacheUse::writes ? write_after_write : read_after_write, kNoBuffer);
  if (later.cache == CacheUse::writes) return found(write_after_read, kNoBuffer);
  return std::nullopt;
}

/// The stage of the op, or of the first one after it that has one: a helper belongs to what it helps.
const Op& owner(const Plan& plan, const Op& op) {
  const auto first = plan.ops().begin() + op.id;
  const auto made = std::find_if(first, plan.ops().end(), [](const Op& next) { return next.makes; });
  return made == plan.ops().end() ? op : *made;
}

Text title_of(const Unmet& unmet) {
  const std::string earlier = label_of(*unmet.earlier), later = label_of(*unmet.later);
  switch (unmet.order) {
    case Unmet::Order::read_after_write:
      return {fmt::format("{} may read what {} has not written yet: no barrier", later, earlier),
              fmt::format("{} puede leer lo que {} aún no ha escrito: falta una barrera", later, earlier)};
    case Unmet::Order::write_after_read:
      return {fmt::format("{} may overwrite what {} still reads: no barrier", later, earlier),
              fmt::format("{} puede sobrescribir lo que {} aún lee: falta una barrera", later, earlier)};
    case Unmet::Order::write_after_write: break;
  }
  return {
      fmt::format("{} and {} may write to the same at once: no barrier", earlier, later),
      fmt::format("{} y {} pueden escribir a la vez en el mismo sitio: falta una barrera", earlier, later)};
}

}  // namespace

std::optional<Unmet> first_unmet(std::span<const Op> ops) {
  for (size_t later = 1; later < ops.size(); ++later) {
    // Whatever comes before a meeting is done when the meeting is over.
    for (size_t i = later; i > 0 && !ops[i].sync; --i) {
      if (const auto unmet = clash(ops[i - 1], ops[later])) return unmet;
    }
  }
  return std::nullopt;
}

Finding unmet_finding(const Plan& plan, const Unmet& unmet) {
  const std::string what =
      unmet.buffer == kNoBuffer ? "the KV cache" : "buffer " + plan.buffer(unmet.buffer).name;
  const std::string in_spanish =
      unmet.buffer == kNoBuffer ? "la caché KV" : "el búfer " + plan.buffer(unmet.buffer).name;
  const Op& made = owner(plan, *unmet.later);
  Finding finding;
  finding.phase = only(plan.phase);
  finding.layer = made.layer;
  finding.stage = made.makes.value_or(Stage::logits);
  finding.cause = Cause::named;
  finding.family = CauseFamily::plan;
  finding.best = name(RunCause::missing_barrier);
  finding.title = title_of(unmet);
  finding.difference = Difference{
      finding.best,
      {{fmt::format(
            "In the plan, ops {} and {} of {} both touch {}, and no meeting of the threads lies between "
            "them: it need not have happened in a run.",
            unmet.earlier->id, unmet.later->id, name(plan.phase), what),
        fmt::format(
            "En el plan, las operaciones {} y {} de {} tocan {}, y entre ellas los hilos no se esperan: "
            "no tiene por qué haber ocurrido en una ejecución.",
            unmet.earlier->id, unmet.later->id, name(plan.phase), in_spanish)}},
      std::nullopt};
  return finding;
}

}  // namespace greta
