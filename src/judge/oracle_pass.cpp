#include "judge/oracle_pass.h"

#include <atomic>

#include "base/thread_pool.h"

namespace greta {

void OraclePass::add(const PhaseRecord& phase) {
  for (const auto& [at, event] : phase.view.events()) {
    const std::string key = judgement_key(phase, at);
    const auto [result, fresh] = results_.try_emplace(key);
    if (fresh) jobs_.try_emplace(key, Job{&phase, at});
    by_event_[event] = &result->second;
  }
}

void OraclePass::run(int threads) {
  std::vector<std::pair<const Job*, Result*>> work;
  for (const auto& [key, job] : jobs_) work.emplace_back(&job, &results_.at(key));
  std::atomic<size_t> next{0};
  ThreadPool pool(threads);
  pool.run([&](Part) {
    for (size_t i = next.fetch_add(1); i < work.size(); i = next.fetch_add(1)) {
      const Job& job = *work[i].first;
      Result& result = *work[i].second;
      result.judgement = judge_stage(*job.phase, job.at, &result.why);
    }
  });
  jobs_.clear();
}

const OraclePass::Result* OraclePass::find(const PhaseView& view, At at) const {
  const auto it = by_event_.find(view.find(at));
  return it == by_event_.end() ? nullptr : it->second;
}

}  // namespace greta
