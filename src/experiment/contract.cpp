#include "experiment/contract.h"

#include <algorithm>
#include <map>

#include "experiment/difference.h"
#include "experiment/exercise.h"
#include "experiment/meetings.h"
#include "experiment/plan_difference.h"
#include "experiment/trust.h"

namespace greta {
namespace {

/// What the matrix left where it was recorded: caches and logits of a phase of a cell.
class Recorded {
 public:
  Recorded(const Bundle& bundle, int64_t n_layer) : bundle_(bundle), n_layer_(n_layer) {
    for (const Event& event : bundle.events) {
      if (event.stage == name(Stage::kv_write) || event.stage == name(Stage::logits))
        by_run_[{event.key(), event.phase}].push_back(&event);
    }
  }

  /// The positions from `first` on.
  Snapshot snapshot(const CellKey& cell, const std::string& phase, int64_t first = 0) const {
    Snapshot snapshot;
    snapshot.first = first;
    snapshot.cache.resize(static_cast<size_t>(n_layer_));
    const auto run = by_run_.find({cell, phase});
    if (run == by_run_.end()) return snapshot;
    for (const Event* event : run->second) {
      const std::vector<float>* values = bundle_.data(*event);
      if (values == nullptr || event->shape.empty()) continue;
      if (event->layer == kNoLayer) {
        snapshot.logits.push_back({event->positions.back(), *values});
        continue;
      }
      snapshot.length = event->shape[0];
      const size_t row = values->size() / static_cast<size_t>(event->shape[0]);
      snapshot.cache[static_cast<size_t>(event->layer)].assign(
          values->begin() + static_cast<std::ptrdiff_t>(row) * first, values->end());
    }
    return snapshot;
  }

 private:
  const Bundle& bundle_;
  int64_t n_layer_;
  std::map<std::pair<CellKey, std::string>, std::vector<const Event*>> by_run_;
};

constexpr size_t kQuickLongest = 32, kQuickTokens = 17;  // of a longer prompt: a tile, and a row of the next

/// One phase of some cells that production computes otherwise.
struct Differing {
  std::vector<CellKey> cells = {};
  const Prompt* prompt = nullptr;  // the shortest
  const Experiment* experiment = nullptr;
  Snapshot recorded = {};
  Deviation first = {};

  void add(const CellKey& cell, const Prompt& of, const Experiment& with, Snapshot snapshot,
           Deviation where) {
    cells.push_back(cell);
    if (prompt != nullptr && prompt->tokens.size() <= of.tokens.size()) return;
    prompt = &of;
    experiment = &with;
    recorded = std::move(snapshot);
    first = std::move(where);
  }
};

class Contractor {
 public:
  Contractor(Engine& engine, const MatrixRequest& matrix, const Bundle& bundle,
             const ContractRequest& request)
      : engine_(engine),
        matrix_(matrix),
        bundle_(bundle),
        request_(request),
        program_(engine, matrix),
        recorded_(bundle, engine.model().config.n_layer) {
    reach_.threads.insert(engine.options().threads);
    reach_.caches.insert(engine.options().kv_format);
    add_kernels(bundle, judged_);
    for (const Experiment& experiment : matrix.experiments) {
      steps_.push_back(program_.plan(Phase::decode, 1, true, {}, experiment.routes(matrix.routes)));
      const auto first = std::find_if(steps_.begin(), steps_.end() - 1,
                                      [&](const Plan& step) { return same_program(step, steps_.back()); });
      runs_as_.push_back(static_cast<size_t>(first - steps_.begin()));
    }
  }

  Contract run() {
    const bool own = !request_.quick && !is_simulated(engine_.options().device);
    const Prompt& longest =
        *std::max_element(matrix_.prompts.begin(), matrix_.prompts.end(),
                          [](const Prompt& a, const Prompt& b) { return a.tokens.size() < b.tokens.size(); });
    // The tokens of its own begin with it.
    const bool with_own = own && matrix_.aligned && std::ssize(longest.tokens) <= kOwnTokens;
    for (const Prompt& prompt : matrix_.prompts) {
      if (!with_own || &prompt != &longest) hold(prompt);
    }
    explain_all();
    if (own && contract_.differences.empty()) own_tokens(longest, with_own);
    explain_all();
    if (own && contract_.differences.empty())
      contract_.exercise.trust = weigh_trust(program_, longest.tokens, request_.step);
    describe();
    return std::move(contract_);
  }

  /// Nothing was run.
  Exercise unheld() {
    for (const Prompt& prompt : matrix_.prompts) note(prompt, plans_for(prompt));
    contract_.exercise.seed = request_.seed;
    for (const std::string& kernel : run_) {
      if (!judged_.contains(kernel)) contract_.exercise.unvouched.push_back(kernel);
    }
    contract_.exercise.not_exercised = not_exercised(engine_, matrix_, reach_, contract_.exercise.trust);
    return std::move(contract_.exercise);
  }

 private:
  SessionPlans plans_for(const Prompt& prompt) const {
    SessionPlans plans =
        make_session_plans(engine_, {.block = block_of(std::ssize(prompt.tokens), matrix_.prefill_block),
                                     .routes = matrix_.routes,
                                     .fast = true,
                                     .change = matrix_.change});
    plans.steps = steps_;
    return plans;
  }

  void note(const Prompt& prompt, const SessionPlans& plans) {
    const int64_t n = std::ssize(prompt.tokens);
    reach_.positions = std::max(reach_.positions, n);
    reach_.block = std::max(reach_.block, n > matrix_.prefill_block ? matrix_.prefill_block : n);
    for (const int64_t window : windows_within(engine_.model().config, n)) reach_.windows.insert(window);
    for (const Plan* plan : {&plans.inner, &plans.last}) note(prompt, *plan);
    for (const Plan& step : plans.steps) note(prompt, step);
  }

  void note(const Prompt& prompt, const Plan& plan) {
    add_kernels(plan, run_);
    const auto unmet = first_unmet(plan.ops());
    if (!unmet) return;
    Finding& race = races_.try_emplace(plan.phase, unmet_finding(plan, *unmet)).first->second;
    for (const Experiment& experiment : matrix_.experiments) add_cell({experiment.name, prompt.id}, race);
  }

  /// As a user would run it: a session that nobody looks into.
  void hold(const Prompt& whole) {
    request_.step("unrecorded " + whole.id);
    Prompt prompt = whole;
    if (request_.quick && prompt.tokens.size() > kQuickLongest) prompt.tokens.resize(kQuickTokens);
    const bool cut = prompt.tokens.size() < whole.tokens.size();
    if (cut) contract_.exercise.first_tokens = std::ssize(prompt.tokens);
    const int64_t n = std::ssize(prompt.tokens);
    SessionPlans plans = plans_for(prompt);
    note(prompt, plans);
    Session session(engine_, n, std::move(plans));
    Snapshot snapshot;
    const auto keep = [&](std::span<const float> logits, int64_t from) {
      snapshot.lost = lost_count(session.cache(), n);
      snapshot.logits.clear();
      if (!cut) snapshot.logits.push_back({n - 1, {logits.begin(), logits.end()}});
      snapshot.cache.clear();
      if (!snapshot.lost) read_cache_into(session.cache(), from, snapshot);
    };
    keep(session.prefill(prompt.tokens), 0);
    const Experiment& any = matrix_.experiments.front();
    const bool differs = compare({any.name, prompt.id}, kPrefillLast, whole, any, snapshot, prefill_);
    ++contract_.exercise.prompts;
    if (!matrix_.aligned || cut) return;
    if (differs) {  // decode is to be held by itself
      const Snapshot right = recorded_.snapshot({any.name, prompt.id}, kPrefillLast);
      if (!is_whole(right)) return;
      write_cache_from(right, n, session.cache());
    }
    compare_steps(whole, [&](size_t i) {
      session.cache().truncate(n - 1);
      keep(session.step(prompt.tokens.back(), i), n - 1);
      return snapshot;
    });
  }

  /// `step(i)`: a prompt's last token by decode in experiment i. Experiments that are one program run once.
  void compare_steps(const Prompt& prompt, const std::function<Snapshot(size_t i)>& step) {
    std::map<size_t, Snapshot> left;
    for (size_t i = 0; i < matrix_.experiments.size(); ++i) {
      const Experiment& experiment = matrix_.experiments[i];
      if (runs_as_[i] == i) left.emplace(i, step(i));
      compare({experiment.name, prompt.id}, kDecode0, prompt, experiment, left.at(runs_as_[i]), decode_);
    }
  }

  /// Decode's last token of a prompt, the tokens before it in the runner's cache.
  void hold_decode(const Prompt& prompt, Runner& runner) {
    const int64_t last = std::ssize(prompt.tokens) - 1;
    compare_steps(prompt, [&](size_t i) {
      runner.cache().truncate(last);
      Snapshot snapshot;
      if (runner.forward(steps_[i], std::span(prompt.tokens).last(1), snapshot))
        read_cache_into(runner.cache(), last, snapshot);
      return snapshot;
    });
    ++contract_.exercise.prompts;
  }

  void explain_all() {
    explain(Phase::prefill, prefill_);
    explain(Phase::decode, decode_);
    prefill_ = decode_ = {};
  }

  bool compare(const CellKey& cell, const char* phase, const Prompt& prompt, const Experiment& experiment,
               const Snapshot& observed, Differing& differing) const {
    Snapshot recorded = recorded_.snapshot(cell, phase, observed.first);
    auto first = first_deviation(recorded, observed);
    if (first) differing.add(cell, prompt, experiment, std::move(recorded), std::move(*first));
    return first.has_value();
  }

  void explain(Phase phase, Differing& differing) {
    if (const auto race = races_.find(phase); race != races_.end()) {
      add_race(std::move(race->second), differing);
      races_.erase(race);
      return;
    }
    if (differing.prompt == nullptr) return;
    const std::vector<TokenId>& tokens = differing.prompt->tokens;
    PlanTrial trial{.phase = phase, .recorded = std::move(differing.recorded), .first = differing.first};
    if (phase == Phase::prefill) {
      trial.run = [this, &tokens](const Making& making, bool used) {
        const Way way{.blocks = blocks_of(std::ssize(tokens), matrix_.prefill_block), .used = used};
        return program_.run(way, tokens, making);
      };
    } else {
      const RouteTable routes = differing.experiment->routes(matrix_.routes);
      trial.run = [this, routes, &tokens](const Making& making, bool used) {
        return program_.step(routes, tokens, making, used);
      };
    }
    for (Finding& finding : why_plan_differs(program_, trial, request_.step)) {
      finding.cells = differing.cells;
      add(std::move(finding));
    }
  }

  /// What a race makes of a run is asked for no other cause.
  void add_race(Finding race, const Differing& differing) {
    if (differing.prompt != nullptr) {
      const Text where = told_first(differing.first);
      race.difference->told.push_back({"It shows in what runs unrecorded: " + where.en + ".",
                                       "Se nota en lo que se ejecuta sin registrar: " + where.es + "."});
      race.difference->first = differing.first;
    }
    add(std::move(race));
  }

  static void add_cell(const CellKey& cell, Finding& finding) {
    if (std::find(finding.cells.begin(), finding.cells.end(), cell) == finding.cells.end())
      finding.cells.push_back(cell);
  }

  /// The same in both phases is one finding.
  void add(Finding finding) {
    for (Finding& other : contract_.differences) {
      if (other.title != finding.title || other.stage != finding.stage) continue;
      other.phase = Phases::both;
      for (const CellKey& cell : finding.cells) add_cell(cell, other);
      return;
    }
    contract_.differences.push_back(std::move(finding));
  }

  void own_tokens(const Prompt& longest, bool hold_it) {
    OwnTokensRequest own{.seed = request_.seed, .manifest = bundle_.manifest, .prompt = longest.tokens};
    own.recorded = recorded_.snapshot({matrix_.experiments.front().name, longest.id}, kPrefillLast);
    own.recorded.logits.clear();  // those of its end, which is not the end here
    own.step = request_.step;
    if (hold_it) {
      note(longest, plans_for(longest));
      own.at_its_last = [this, &longest](Runner& runner) { hold_decode(longest, runner); };
    }
    OwnTokensResult result = check_own_tokens(program_, own);
    for (Finding& finding : result.differences) contract_.differences.push_back(std::move(finding));
    Exercise& exercise = contract_.exercise;
    exercise.own_tokens = result.tokens;
    exercise.judged = result.judged;
    exercise.blocks = std::move(result.blocks);
    exercise.steps = std::move(result.steps);
    judged_.insert(result.judged_kernels.begin(), result.judged_kernels.end());
    Reach& reach = result.reach;
    reach_.positions = std::max(reach_.positions, reach.positions);
    reach_.block = std::max(reach_.block, reach.block);
    reach_.windows.merge(reach.windows);
    reach_.threads.merge(reach.threads);
    reach_.caches.merge(reach.caches);
    reach_.steps_in_a_row = reach.steps_in_a_row;
    reach_.own = reach.own;
  }

  void describe() {
    Exercise& exercise = contract_.exercise;
    exercise.seed = request_.seed;
    exercise.held = contract_.differences.empty();
    for (const std::string& kernel : run_) {
      if (!judged_.contains(kernel)) (exercise.held ? exercise.equal : exercise.unvouched).push_back(kernel);
    }
    exercise.threads.assign(reach_.threads.begin(), reach_.threads.end());
    for (const Format format : reach_.caches) exercise.caches.emplace_back(name(format));
    exercise.not_exercised = not_exercised(engine_, matrix_, reach_, contract_.exercise.trust);
  }

  Engine& engine_;
  const MatrixRequest& matrix_;
  const Bundle& bundle_;
  const ContractRequest& request_;
  const Program program_;
  const Recorded recorded_;
  std::vector<Plan> steps_;      // of decode, by experiment
  std::vector<size_t> runs_as_;  // the first experiment with the same step
  Differing prefill_, decode_;
  std::map<Phase, Finding> races_;  // that the plans allow
  Reach reach_;
  std::set<std::string> run_, judged_;  // kernels
  Contract contract_;
};

}  // namespace

Contract check_contract(Engine& engine, const MatrixRequest& matrix, const Bundle& recorded,
                        const ContractRequest& request) {
  return Contractor(engine, matrix, recorded, request).run();
}

Exercise unheld(Engine& engine, const MatrixRequest& matrix, const Bundle& recorded, uint64_t seed) {
  const ContractRequest request{.seed = seed};
  return Contractor(engine, matrix, recorded, request).unheld();
}

}  // namespace greta
