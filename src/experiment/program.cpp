#include "experiment/program.h"

#include <fmt/format.h>

#include <algorithm>

namespace greta {
namespace {

constexpr float kCanary = 6e4f;  // large, and finite in f16 too

/// Does nothing: all threads meet before and after it.
class Meeting final : public Action {
 public:
  std::string label() const override { return "meet"; }
  void run(const KernelArgs&, Part) override {}
};

}  // namespace

void meet_after(PlanEdit& edit, const std::function<bool(const Op& op)>& wanted) {
  std::vector<const Op*> ops;
  for (const Op& op : edit.ops()) {
    if (wanted(op)) ops.push_back(&op);
  }
  for (const Op* op : ops) edit.after(*op, onlooker(*op, std::make_shared<Meeting>()));
}

void meet_always(PlanEdit& edit) {
  meet_after(edit, [](const Op&) { return true; });
}

std::string label_of(const Op& op) {
  if (op.makes) return std::string(name(*op.makes));
  const KernelCall* call = kernel_call(op);
  return call == nullptr ? "" : std::string(name(call->kernel->op));
}

void unfuse_but(PlanEdit& edit, const std::function<bool(Stage)>& kept) {
  edit.unfuse([&](At made) {
    // Scores and weights hide in the op that makes the mix.
    const StageKind kind = info(made.stage).kind;
    const bool of_mix = kind == StageKind::scores || kind == StageKind::weights;
    return !kept(of_mix ? Stage::pv : made.stage);
  });
}

Making as_recorded() {
  return {.fast = false, .edit = [](PlanEdit& edit) {
            edit.unfuse_all();
            meet_always(edit);
          }};
}

std::vector<int64_t> blocks_of(int64_t n, int64_t most) {
  std::vector<int64_t> blocks;
  for (int64_t at = 0; at < n; at += most) blocks.push_back(std::min(most, n - at));
  return blocks;
}

Plan Program::plan(Phase phase, int64_t rows, bool logits, const Making& making) const {
  return plan(phase, rows, logits, making, request_.routes);
}

Plan Program::plan(Phase phase, int64_t rows, bool logits, const Making& making,
                   const RouteTable& routes) const {
  const PlanChange change = then(request_.change, {.edit = making.edit});
  return changed_plan(engine_, phase, rows, routes, change, logits, making.fast);
}

Snapshot Program::run(const Way& way, std::span<const int32_t> tokens, const Making& making,
                      const std::set<int64_t>& logits_at, Runner* runner) const {
  std::optional<ThreadPool> other;
  if (way.threads > 0) other.emplace(way.threads);
  std::optional<Runner> own;
  if (runner == nullptr)
    runner = &own.emplace(engine_, other ? *other : engine_.pool(), std::ssize(tokens), way.cache);
  if (way.used) runner->poison(kCanary);
  Snapshot snapshot;
  if (way.blocks.empty()) {
    const Plan step = plan(Phase::decode, 1, true, making);
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (!runner->forward(step, tokens.subspan(i, 1), snapshot)) return snapshot;
      const bool keep = i + 1 == tokens.size() || logits_at.contains(static_cast<int64_t>(i));
      if (!keep) snapshot.logits.pop_back();
    }
  } else {
    const int64_t rows = *std::max_element(way.blocks.begin(), way.blocks.end());
    const Plan last = plan(Phase::prefill, rows, true, making);
    const Plan inner = way.all_logits ? last : plan(Phase::prefill, rows, false, making);
    size_t at = 0;
    for (size_t i = 0; i < way.blocks.size(); ++i) {
      const size_t n = static_cast<size_t>(way.blocks[i]);
      const Plan& block = i + 1 == way.blocks.size() ? last : inner;
      if (!runner->forward(block, tokens.subspan(at, n), snapshot)) return snapshot;
      at += n;
    }
  }
  runner->read(snapshot);
  return snapshot;
}

Snapshot Program::step(const RouteTable& routes, std::span<const int32_t> tokens, const Making& making,
                       bool used) const {
  Runner runner(engine_, engine_.pool(), std::ssize(tokens));
  if (used) runner.poison(kCanary);
  const auto before = tokens.first(tokens.size() - 1);
  if (!before.empty()) {
    const Way way{.blocks = blocks_of(std::ssize(before), request_.prefill_block)};
    Snapshot history = run(way, before, as_recorded(), {}, &runner);
    if (history.lost) return history;
  }
  Snapshot snapshot;
  if (runner.forward(plan(Phase::decode, 1, true, making, routes), tokens.last(1), snapshot))
    read_cache_into(runner.cache(), std::ssize(before), snapshot);
  return snapshot;
}

std::string different_routes(const Plan& prefill, const Plan& decode) {
  for (const Op& op : prefill.ops()) {
    const Op* other = is_kind(op, OpKind::matmul) ? decode.find(*op.made()) : nullptr;
    if (other == nullptr) continue;
    const KernelInfo &many = *kernel_call(op)->kernel, &one = *kernel_call(*other)->kernel;
    // Where a unit is simulated, its GEMV has another order of sums.
    const bool alike = many.route == one.route && (!is_simulated(many.device) || many.shape == one.shape);
    if (alike) continue;
    return fmt::format("{} runs on the {} route in prefill, on {} in decode", name(*op.makes),
                       name(*many.route), name(*one.route));
  }
  return {};
}

bool same_program(const Plan& a, const Plan& b) {
  return std::equal(a.ops().begin(), a.ops().end(), b.ops().begin(), b.ops().end(),
                    [](const Op& one, const Op& other) {
                      if (action_of(one) != nullptr || action_of(other) != nullptr) return false;
                      const KernelCall &call = *kernel_call(one), &with = *kernel_call(other);
                      return call.kernel == with.kernel && call.weight == with.weight &&
                             one.reads == other.reads && one.writes == other.writes && one.sync == other.sync;
                    });
}

std::string Program::different_routes() const {
  return greta::different_routes(plan(Phase::prefill, 2, true, {}), plan(Phase::decode, 1, true, {}));
}

}  // namespace greta
