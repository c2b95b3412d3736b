#include "judge/oracle_pass.h"

#include <algorithm>
#include <mutex>

#include "base/parallel.h"
#include "judge/error_picture.h"

namespace greta {
namespace {

constexpr int64_t kBatchRows = 64;  // decoding their weight is then little beside their sums

/// No recorded stage of the layer is of a kernel with coarse results.
bool is_fine(const PhaseRecord& phase, int layer) {
  return std::ranges::none_of(phase.view.events(), [&](const auto& entry) {
    return entry.first.layer == layer && has_coarse_results(kernel_declares(phase, entry.first));
  });
}

/// Results in bf16 or f16 over a gap that is made in f32: what the engine rounds there is not known. A cache
/// in a coarse format tells nothing of that: any other stage of its layer does.
bool is_made_too_finely(const PhaseRecord& phase, At at, const Subject& subject) {
  const StageProblem& problem = *subject.problem;
  if (problem.kind == StageKind::cache && problem.cache_format != Format::f32 && is_fine(phase, at.layer))
    return false;
  const bool fine = std::ranges::any_of(subject.gap, [&](Stage stage) {
    return !has_coarse_results(kernel_declares(phase, {at.layer, stage}));
  });
  const bool any = std::ranges::any_of(subject.observed, [](float x) { return x != 0; });
  return fine && any &&
         (is_held_in(Format::bf16, subject.observed) || is_held_in(Format::f16, subject.observed));
}

}  // namespace

void OraclePass::add(const PhaseRecord& phase) {
  for (const auto& [at, event] : phase.view.events()) {
    if (options_.only != nullptr && !options_.only->contains(at)) {
      by_event_[event] = &not_asked_;
      continue;
    }
    const std::string key = judgement_key(phase, at);
    const auto [result, fresh] = results_.try_emplace(key);
    by_event_[event] = &result->second;
    if (!fresh) continue;
    if (const JudgedStage* known = known_result(key)) {
      result->second = *known;
    } else {
      jobs_.try_emplace(key, Job{&phase, at, &result->second});
    }
  }
}

const JudgedStage* OraclePass::known_result(const std::string& key) const {
  for (const KnownJudgements* known : {options_.last, options_.known}) {
    if (known == nullptr) continue;
    const auto it = known->find(key);
    if (it == known->end()) continue;
    const bool lacks = options_.sightings && known != options_.last && it->second.is_convicted();
    if (!lacks) return &it->second;
  }
  return nullptr;
}

std::vector<OraclePass::Batch> OraclePass::batches() const {
  std::vector<Batch> batches;
  std::map<std::pair<At, std::string>, Batch> open;  // by arithmetic
  std::map<const Batch*, int64_t> rows;
  for (const auto& [key, job] : jobs_) {
    if (info(job.at.stage).kind != StageKind::projection) {
      batches.push_back({job});
      continue;
    }
    Batch& batch = open[{job.at, arithmetic_key(arithmetic_of(*job.phase, job.at))}];
    batch.push_back(job);
    rows[&batch] += std::ssize(recorded_positions(*job.phase, job.at));
    if (rows[&batch] < kBatchRows) continue;
    batches.push_back(std::exchange(batch, {}));
    rows[&batch] = 0;
  }
  for (auto& [place, batch] : open) {
    if (!batch.empty()) batches.push_back(std::move(batch));
  }
  return batches;
}

void OraclePass::judge_batch(const Batch& batch) const {
  std::vector<std::optional<Subject>> subjects;
  std::vector<const StageProblem*> together;
  for (const Job& job : batch) {
    subjects.push_back(judged_subject(*job.phase, job.at, &job.result->why));
    if (subjects.back() && is_plain_projection(*subjects.back()->problem))
      together.push_back(subjects.back()->problem.get());
  }
  std::vector<Expected> solved = solve_together(together);
  auto next = solved.begin();
  for (size_t i = 0; i < batch.size(); ++i) {
    if (!subjects[i]) continue;
    const StageProblem& problem = *subjects[i]->problem;
    Expected right = is_plain_projection(problem) ? std::move(*next++) : expected_of(problem);
    if (auto trial = trial_of(std::move(*subjects[i]), std::move(right), &batch[i].result->why))
      keep(batch[i], std::move(*trial));
  }
}

void OraclePass::keep(const Job& job, Trial trial) const {
  job.result->judgement = judgement_of(trial);
  if (job.result->is_convicted() && is_made_too_finely(*job.phase, job.at, trial.subject)) {
    *job.result = {std::nullopt, "over a gap in the recording whose kernels declare no arithmetic"};
    return;
  }
  if (job.result->judgement->untold > 0) job.result->why = kSomeUntold;
  job.result->picture = std::make_shared<const ErrorPicture>(error_picture(*job.phase, job.at, trial));
  if (!options_.sightings || !job.result->is_convicted()) return;
  if (auto sighting = sighting_of(*job.phase, job.at, std::move(trial)))
    job.result->sighting = std::make_shared<const Sighting>(std::move(*sighting));
}

void OraclePass::run() {
  const std::vector<Batch> work = batches();
  std::mutex telling;
  size_t done = 0;
  parallel_for(options_.threads, work.size(), [&](size_t i) {
    judge_batch(work[i]);
    if (!options_.step) return;
    const std::lock_guard lock(telling);
    options_.step(++done, work.size());
  });
  for (const auto& [key, job] : jobs_) {
    if (options_.known == nullptr) break;
    JudgedStage& known = (*options_.known)[key];
    known = *job.result;
    known.sighting = nullptr;
  }
  jobs_.clear();
  if (options_.last != nullptr) *options_.last = results_;
}

void OraclePass::withdraw(const PhaseView& view, At at, const std::string& why) {
  const auto it = by_event_.find(view.find(at));
  if (it != by_event_.end()) *it->second = {std::nullopt, why};
}

const JudgedStage* OraclePass::find(const PhaseView& view, At at) const {
  const auto it = by_event_.find(view.find(at));
  return it == by_event_.end() ? nullptr : it->second;
}

}  // namespace greta
