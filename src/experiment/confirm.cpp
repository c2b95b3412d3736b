#include "experiment/confirm.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>

#include "experiment/intervention.h"
#include "judge/judge.h"
#include "record/matrix.h"

namespace greta {
namespace {

constexpr int kRounds = 4;         // of faults behind faults
constexpr double kRemoved = 0.01;  // of the mismatch may stay: rounding

/// Findings alike but for their layer are neutralised together.
struct Group {
  std::vector<size_t> findings;  // by index
  std::string prompt;            // the shortest that shows them
  std::string experiment;
};

bool alike(const Finding& a, const Finding& b) {
  return a.stage == b.stage && a.phase == b.phase && a.hypothesis() == b.hypothesis();
}

InterventionSite site_of(const Finding& finding) { return {finding.phase, finding.layer, finding.stage}; }

/// The stages that must be recorded to judge one: what it is made from, and of norms what that is the sum of.
void add_needed(const ModelConfig& config, At at, int depth, std::set<At>& needed) {
  needed.insert(at);
  if (depth == 0) return;
  for (const At operand : operands_at(config, at)) add_needed(config, operand, depth - 1, needed);
}

/// How far the two phases are apart where the group begins, and in the logits. In its later layers the inputs
/// may still differ, by faults that come after it.
struct Mismatch {
  double stage = 0, logits = 0;
  double noise = 0;        // against the oracle, the largest of all its layers
  bool convicted = false;  // where the group begins, some phase is outside its bound
};

double apart(const Verdict& run, Stage stage, int layer) {
  for (const StagePair& pair : run.pairs) {
    if (pair.stage == stage && pair.layer == layer && std::isfinite(pair.metrics.rel_l2))
      return pair.metrics.rel_l2;
  }
  return 0;
}

Mismatch mismatch_of(const std::vector<Finding>& findings, const Verdict& run, const Group& group) {
  const Finding& first = findings[group.findings.front()];
  Mismatch mismatch{apart(run, first.stage, first.layer), apart(run, Stage::logits, kNoLayer), 0, false};
  for (const StagePair& pair : run.pairs) {
    const bool here = pair.stage == first.stage && pair.layer == first.layer;
    mismatch.convicted = mismatch.convicted || (here && pair.status == PairStatus::fault);
  }
  for (const size_t i : group.findings) {
    const Finding& finding = findings[i];
    for (const StageNoise& noise : run.noise) {
      if (concerns(finding.phase, noise.phase) && noise.stage == finding.stage &&
          noise.layer == finding.layer)
        mismatch.noise = std::max(mismatch.noise, noise.ratio);
    }
  }
  return mismatch;
}

class Confirmation {
 public:
  Confirmation(Engine& engine, const MatrixRequest& request, std::vector<Finding> findings,
               KnownJudgements* known, const std::function<void(const std::string&)>& step)
      : engine_(engine),
        request_(request),
        findings_(std::move(findings)),
        known_(known != nullptr ? *known : own_known_),
        step_(step) {}

  std::vector<Finding> run() {
    size_t done = 0;
    for (int round = 0; round < kRounds && done < findings_.size(); ++round) {
      const size_t end = findings_.size();
      const std::vector<Group> all = groups(done, end);
      for (size_t i = 0; i < all.size(); ++i) neutralise(all[i], i + 1 < all.size() ? &all[i + 1] : nullptr);
      done = end;
      last_.reset();  // it lacks what the next group needs
      step_("looking for faults behind faults");
      add_hidden(judge(record_matrix(engine_, with_interventions(request_)), engine_.model(),
                       {.threads = threads(), .known = &known_}));
    }
    return std::move(findings_);
  }

 private:
  int threads() const { return engine_.options().threads; }

  MatrixRequest with_interventions(MatrixRequest request) const {
    request.change = then(std::move(request.change), interventions(engine_, sites_));
    return request;
  }

  /// One prompt and experiment with what is neutralised so far.
  const Bundle& recorded(const MatrixRequest& request) {
    const Run run{request.prompts.front().id, request.experiments.front().name, sites_.size()};
    if (!last_ || last_run_ != run) {
      last_ = record_matrix(engine_, with_interventions(request));
      last_run_ = run;
    }
    return *last_;
  }

  std::vector<Group> groups(size_t begin, size_t end) const {
    std::vector<Group> groups;
    for (size_t i = begin; i < end; ++i) {
      const Finding& finding = findings_[i];
      auto it = std::find_if(groups.begin(), groups.end(),
                             [&](const Group& g) { return alike(findings_[g.findings.front()], finding); });
      if (it == groups.end()) it = groups.insert(groups.end(), Group{{}, shortest_prompt(finding), ""});
      it->findings.push_back(i);
    }
    return groups;
  }

  /// Of the prompts that show the finding, the shortest of more than one token.
  std::string shortest_prompt(const Finding& finding) const {
    const Prompt* best = nullptr;
    for (const Prompt& prompt : request_.prompts) {
      const bool shows = std::any_of(finding.cells.begin(), finding.cells.end(),
                                     [&](const CellKey& cell) { return cell.prompt == prompt.id; });
      if (!shows) continue;
      const bool better = best == nullptr || (best->tokens.size() < 2 && prompt.tokens.size() > 1) ||
                          (prompt.tokens.size() > 1 && prompt.tokens.size() < best->tokens.size());
      if (better) best = &prompt;
    }
    return best == nullptr ? request_.prompts.front().id : best->id;
  }

  void add_needed_by(const Group& group, std::set<At>& needed) const {
    for (const size_t i : group.findings)
      add_needed(engine_.model().config, {findings_[i].layer, findings_[i].stage}, 2, needed);
  }

  /// One prompt and one experiment that show the group, and as much of them as it takes to judge it and the
  /// next one: what one leaves is what the next one begins with.
  MatrixRequest small_request(const Group& group, const Group* next) const {
    MatrixRequest request = request_;
    std::set<At> needed{{kNoLayer, Stage::logits}};
    add_needed_by(group, needed);
    if (next != nullptr) add_needed_by(*next, needed);
    std::set<int> layers;
    for (const At at : needed) {
      request.stages.insert(at.stage);
      if (at.layer != kNoLayer) layers.insert(at.layer);
    }
    request.layers.assign(layers.begin(), layers.end());
    std::erase_if(request.prompts, [&](const Prompt& p) { return p.id != group.prompt; });
    const std::vector<CellKey>& cells = findings_[group.findings.front()].cells;
    const auto shows = [&](const Experiment& e) {
      return std::find(cells.begin(), cells.end(), CellKey{e.name, group.prompt}) != cells.end();
    };
    const auto it = std::find_if(request.experiments.begin(), request.experiments.end(), shows);
    request.experiments = {it == request.experiments.end() ? request.experiments.front() : *it};
    return request;
  }

  void neutralise(const Group& group, const Group* next) {
    const Finding& first = findings_[group.findings.front()];
    step_(fmt::format("the oracle's {} in {}", name(first.stage), name(first.phase)));
    const MatrixRequest request = small_request(group, next);
    std::set<At> looked_at;
    for (const size_t i : group.findings) looked_at.insert({findings_[i].layer, findings_[i].stage});
    const auto measure = [&] {
      const Verdict run =
          judge(recorded(request), engine_.model(),
                {.threads = threads(), .causes = Causes::none, .only = &looked_at, .known = &known_});
      return mismatch_of(findings_, run, group);
    };
    const Mismatch before = measure();
    for (const size_t i : group.findings) sites_.push_back(site_of(findings_[i]));
    const Mismatch after = measure();
    Intervention result;
    result.prompt = group.prompt;
    const bool pair =
        first.phase != Phases::both && before.stage > 0;  // else rows or phases that no pair shows
    result.mismatch_before = pair ? before.stage : before.noise;
    result.mismatch_after = pair ? after.stage : after.noise;
    result.logits_before = before.logits;
    result.logits_after = after.logits;
    // Where nothing was wrong, nothing was removed. Phases on different routes stay apart by their rounding.
    const bool gone = result.mismatch_after <= kRemoved * result.mismatch_before;
    result.mismatch_removed = before.noise > 1 && after.noise <= 1 && (!pair || gone || !after.convicted);
    for (const size_t i : group.findings) findings_[i].intervention = result;
  }

  /// What is found with all that is known neutralised was hidden by it.
  void add_hidden(const Verdict& rest) {
    for (const Finding& finding : rest.findings) {
      if (std::find(sites_.begin(), sites_.end(), site_of(finding)) == sites_.end())
        findings_.push_back(finding);
    }
  }

  Engine& engine_;
  const MatrixRequest& request_;
  std::vector<Finding> findings_;
  KnownJudgements own_known_;
  KnownJudgements& known_;
  const std::function<void(const std::string&)>& step_;
  std::vector<InterventionSite> sites_;  // neutralised so far

  using Run = std::tuple<std::string, std::string, size_t>;  // prompt, experiment, sites neutralised
  Run last_run_;
  std::optional<Bundle> last_;
};

}  // namespace

std::vector<Finding> confirm(Engine& engine, const MatrixRequest& request, std::vector<Finding> findings,
                             KnownJudgements* known,
                             const std::function<void(const std::string& label)>& step) {
  return Confirmation(engine, request, std::move(findings), known, step).run();
}

}  // namespace greta
