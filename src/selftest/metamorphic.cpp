#include "selftest/metamorphic.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "experiment/program.h"
#include "model/prompt.h"
#include "selftest/metamorphic_token0.h"

namespace greta {
namespace {

// Around the edges of lanes (16), tiles and attention blocks.
constexpr std::array<int64_t, 12> kLengths{1, 15, 16, 17, 32, 33, 96, 97, 128, 129, 256, 257};
constexpr int64_t kLongest = kLengths.back();
constexpr int64_t kChunked = 129;
constexpr std::array<int64_t, 3> kChunks{7, 33, 128};
constexpr std::array kThreads{1, 2, 3};
// The common scenario: a prefill that ends within a lane block, and steps that cross into the next.
constexpr int64_t kPrompt = 94, kSteps = 4;
constexpr float kCanary = 6e4f;  // large, and finite in f16 too

class Checks {
 public:
  Checks(Engine& engine, const MetamorphicRequest& request)
      : engine_(engine),
        request_(request),
        n_ctx_(engine.model().config.n_ctx),
        tokens_(vocabulary_walk(std::min(kLongest, n_ctx_), engine.model().config.n_vocab)),
        prompt_(std::clamp<int64_t>(n_ctx_ - kSteps, 1, kPrompt)),
        steps_(std::min(kSteps, n_ctx_ - prompt_)),
        pool_(request.threads),
        block_(plan(Phase::prefill, std::ssize(tokens_))),
        single_(plan(Phase::prefill, 1)),
        step_(plan(Phase::decode, 1)) {}

  std::vector<MetamorphicCheck> run() {
    const std::array<MetamorphicCheck (Checks::*)(), 9> checks{&Checks::prefill_equals_decode,
                                                               &Checks::chunks_equal_block,
                                                               &Checks::token0,
                                                               &Checks::sane_outputs,
                                                               &Checks::unused_is_unread,
                                                               &Checks::recycled_cache,
                                                               &Checks::second_run,
                                                               &Checks::threads_make_no_difference,
                                                               &Checks::fusion_makes_no_difference};
    std::vector<MetamorphicCheck> results;
    for (const auto check : checks) {
      if (request_.step)
        request_.step(static_cast<int>(results.size()), static_cast<int>(checks.size()), "checking");
      results.push_back((this->*check)());
    }
    return results;
  }

 private:
  Plan plan(Phase phase, int64_t rows) const {
    return changed_plan(engine_, phase, rows, request_.routes, request_.change, true, true);
  }

  std::span<const int32_t> tokens(int64_t n) const {
    return std::span(tokens_).first(static_cast<size_t>(n));
  }

  /// The first n tokens prefilled in blocks of `chunk`.
  Snapshot prefilled(int64_t n, int64_t chunk) {
    Snapshot snapshot;
    Runner runner(engine_, pool_, n);
    for (int64_t at = 0; at < n; at += chunk) {
      const int64_t rows = std::min(chunk, n - at);
      const auto part = tokens(n).subspan(static_cast<size_t>(at), static_cast<size_t>(rows));
      if (!runner.forward(n == 1 ? single_ : block_, part, snapshot)) return snapshot;
    }
    runner.read(snapshot);
    return snapshot;
  }

  /// All tokens, one step each.
  Snapshot decoded() {
    Snapshot snapshot;
    Runner runner(engine_, pool_, std::ssize(tokens_));
    for (int64_t i = 0; i < std::ssize(tokens_); ++i) {
      const std::span<const int32_t> token = tokens(i + 1).last(1);
      if (std::find(kLengths.begin(), kLengths.end(), i + 1) != kLengths.end()) {
        if (!runner.forward(step_, token, snapshot)) return snapshot;
      } else {
        runner.forward(step_, token);
      }
    }
    runner.read(snapshot);
    return snapshot;
  }

  /// The common scenario on a runner: a prompt, then steps.
  Snapshot scenario(Runner& runner, const Plan& block, const Plan& step) const {
    Snapshot snapshot;
    if (!runner.forward(block, tokens(prompt_), snapshot)) return snapshot;
    for (int64_t i = prompt_; i < prompt_ + steps_; ++i) {
      if (!runner.forward(step, tokens(i + 1).last(1), snapshot)) return snapshot;
    }
    runner.read(snapshot);
    return snapshot;
  }

  Runner runner(ThreadPool& pool) const { return {engine_, pool, prompt_ + steps_}; }

  /// The scenario on a fresh cache, run once: what all variations are held against.
  const Snapshot& plain() {
    if (!plain_) {
      Runner fresh = runner(pool_);
      plain_ = scenario(fresh, block_, step_);
    }
    return *plain_;
  }

  MetamorphicCheck prefill_equals_decode() {
    MetamorphicCheck check{"prefill_equals_decode", "n tokens at once = n decode steps"};
    check.why_not = different_routes(block_, step_);
    if (!check.why_not.empty()) return check;
    const Snapshot steps = decoded();
    for (const int64_t n : kLengths) {
      if (n > std::ssize(tokens_)) continue;
      check.cases.push_back({fmt::format("{}", n), first_deviation(steps, prefilled(n, n))});
    }
    if (n_ctx_ < kLongest) check.why_not = fmt::format("the model's context ends at {}", n_ctx_);
    return check;
  }

  MetamorphicCheck chunks_equal_block() {
    MetamorphicCheck check{"chunks_equal_block", "prefill in chunks = in one block"};
    const int64_t n = std::min(kChunked, std::ssize(tokens_));
    const Snapshot block = prefilled(n, n);
    for (const int64_t chunk : kChunks) {
      if (chunk < n)
        check.cases.push_back({fmt::format("{}", chunk), first_deviation(block, prefilled(n, chunk))});
    }
    if (check.cases.empty()) check.why_not = fmt::format("the model's context ends at {}", n_ctx_);
    return check;
  }

  MetamorphicCheck token0() {
    MetamorphicCheck check{"token0_sees_itself", "token 0: softmax 1 on itself, pv = V[0]"};
    const int64_t n = std::min<int64_t>(17, std::ssize(tokens_));
    check.cases = check_token0(engine_, pool_, n == 1 ? single_ : block_, tokens(n));
    for (const CheckCase& one : check_token0(engine_, pool_, step_, tokens(1))) check.cases.push_back(one);
    return check;
  }

  MetamorphicCheck sane_outputs() {
    MetamorphicCheck check{"sane_outputs", "outputs are finite, logits not constant"};
    check.cases.push_back({"finite", first_not_finite(plain())});
    CheckCase constant{"not constant"};
    for (const Snapshot::Logits& logits : plain().logits) {
      const float first = logits.row.front();
      if (std::any_of(logits.row.begin(), logits.row.end(), [=](float x) { return x != first; })) continue;
      constant.deviation = Deviation{"", plain().length, kNoLayer, logits.position, "logits", 0, 0, first};
      break;
    }
    check.cases.push_back(constant);
    return check;
  }

  MetamorphicCheck unused_is_unread() {
    MetamorphicCheck check{"unused_is_unread", "unused slots, padding: nobody reads them"};
    const std::array<std::pair<const char*, float>, 3> fillings{
        {{"NaN", std::numeric_limits<float>::quiet_NaN()}, {"canary", kCanary}, {"zeros", 0.0f}}};
    for (const auto& [label, value] : fillings) {
      Runner filled = runner(pool_);
      scenario(filled, block_, step_);  // makes the buffers
      filled.recycle();
      filled.poison(value);
      check.cases.push_back({label, first_deviation(plain(), scenario(filled, block_, step_))});
    }
    return check;
  }

  MetamorphicCheck recycled_cache() {
    MetamorphicCheck check{"recycled_cache", "another prompt before it changes nothing"};
    Runner used = runner(pool_);
    const int64_t longer = std::min(prompt_ + kSpareSlots, std::ssize(tokens_));
    used.forward(longer == 1 ? single_ : block_,
                 vocabulary_walk(longer, engine_.model().config.n_vocab, 4711));
    used.recycle();
    check.cases.push_back({"longer prompt", first_deviation(plain(), scenario(used, block_, step_))});
    return check;
  }

  MetamorphicCheck second_run() {
    MetamorphicCheck check{"second_run", "a second run gives the same bits"};
    Runner fresh = runner(pool_);
    check.cases.push_back({"new cache", first_deviation(plain(), scenario(fresh, block_, step_))});
    fresh.recycle();
    check.cases.push_back({"same cache", first_deviation(plain(), scenario(fresh, block_, step_))});
    return check;
  }

  MetamorphicCheck threads_make_no_difference() {
    MetamorphicCheck check{"thread_counts", "the number of threads changes nothing"};
    for (const int threads : kThreads) {
      if (threads == request_.threads) continue;
      ThreadPool pool(threads);
      Runner other = runner(pool);
      check.cases.push_back(
          {fmt::format("{}", threads), first_deviation(plain(), scenario(other, block_, step_))});
    }
    return check;
  }

  /// Traces take fused ops apart: what they show must be what an untraced run computes.
  MetamorphicCheck fusion_makes_no_difference() {
    MetamorphicCheck check{"fused_ops", "fused ops = their parts in turn"};
    Plan block = block_, step = step_;
    for (Plan* fused : {&block, &step}) PlanEdit(*fused).unfuse_all();
    if (block.ops().size() == block_.ops().size() && step.ops().size() == step_.ops().size()) {
      check.why_not = "these plans have no fused ops";
      return check;
    }
    Runner apart = runner(pool_);
    check.cases.push_back({"scenario", first_deviation(scenario(apart, block, step), plain())});
    return check;
  }

  Engine& engine_;
  const MetamorphicRequest& request_;
  const int64_t n_ctx_;
  const std::vector<int32_t> tokens_;
  const int64_t prompt_, steps_;
  ThreadPool pool_;
  const Plan block_, single_, step_;
  std::optional<Snapshot> plain_;
};

}  // namespace

int engine_threads_for_metamorphic(int threads) { return std::max(threads, kThreads.back()); }

std::vector<MetamorphicCheck> run_metamorphic(Engine& engine, const MetamorphicRequest& request) {
  const int needed = engine_threads_for_metamorphic(request.threads);
  if (engine.options().threads < needed) {
    fail_machine("the checks vary the number of threads: they need an engine made for {}, not {}", needed,
                 engine.options().threads);
  }
  return Checks(engine, request).run();
}

}  // namespace greta
