#include "judge/oracle_pass.h"

#include "base/parallel.h"

namespace greta {

void OraclePass::add(const PhaseRecord& phase) {
  static const JudgedStage not_asked{std::nullopt, "not asked for"};
  for (const auto& [at, event] : phase.view.events()) {
    if (options_.only != nullptr && !options_.only->contains(at)) {
      by_event_[event] = &not_asked;
      continue;
    }
    const std::string key = judgement_key(phase, at);
    const auto [result, fresh] = results_.try_emplace(key);
    by_event_[event] = &result->second;
    if (!fresh) continue;
    const JudgedStage* known = known_result(key);
    if (known != nullptr && !(options_.sightings && known->is_convicted())) {
      result->second = *known;
    } else {
      jobs_.try_emplace(key, Job{&phase, at});
    }
  }
}

const JudgedStage* OraclePass::known_result(const std::string& key) const {
  if (options_.known == nullptr) return nullptr;
  const auto it = options_.known->find(key);
  return it == options_.known->end() ? nullptr : &it->second;
}

JudgedStage OraclePass::judged(const Job& job) const {
  JudgedStage result;
  std::optional<Trial> trial = try_stage(*job.phase, job.at, &result.why);
  if (!trial) return result;
  result.judgement = judgement_of(*trial);
  if (!options_.sightings || !result.is_convicted()) return result;
  if (auto sighting = sighting_of(*job.phase, job.at, std::move(*trial)))
    result.sighting = std::make_shared<const Sighting>(std::move(*sighting));
  return result;
}

void OraclePass::run() {
  std::vector<std::pair<const Job*, JudgedStage*>> work;
  for (const auto& [key, job] : jobs_) work.emplace_back(&job, &results_.at(key));
  parallel_for(options_.threads, work.size(), [&](size_t i) { *work[i].second = judged(*work[i].first); });
  for (const auto& [key, job] : jobs_) {
    if (options_.known == nullptr) break;
    JudgedStage& known = (*options_.known)[key];
    known = results_.at(key);
    known.sighting = nullptr;
  }
  jobs_.clear();
}

const JudgedStage* OraclePass::find(const PhaseView& view, At at) const {
  const auto it = by_event_.find(view.find(at));
  return it == by_event_.end() ? nullptr : it->second;
}

}  // namespace greta
