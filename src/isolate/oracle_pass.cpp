#include "isolate/oracle_pass.h"

#include <fmt/format.h>

#include <atomic>

#include "base/thread_pool.h"

namespace greta::isolate {

std::string OraclePass::key(const PhaseView& view, Stage stage, int layer) const {
  const trace::Event& event = *view.find(stage, layer);
  const Roundings roundings = declared_roundings(view.bundle().manifest, event.kernel);
  std::string key = fmt::format("{} {} {} {} {} {} [{}]", name(stage), layer, name(roundings.activation),
                                name(roundings.accumulator), name(roundings.output), event.hash,
                                fmt::join(event.positions, ","));
  for (const auto& [input, at] :
       recorded_inputs(view, stage, layer, static_cast<int>(model_.config.n_layer) - 1)) {
    key += " " + view.find(input, at)->hash;
  }
  // The embedding's input is the token.
  return stage == Stage::x_in && layer == 0 ? key + " " + view.cell() : key;
}

void OraclePass::add(const PhaseView& view, const std::vector<TokenId>& tokens) {
  for (const auto& [at, event] : view.events()) {
    const std::string id = key(view, at.second, at.first);
    if (!results_.contains(id)) jobs_.try_emplace(id, Job{&view, &tokens, at.second, at.first});
  }
}

void OraclePass::run(int threads) {
  std::vector<std::pair<const Job*, Result*>> work;
  for (const auto& [id, job] : jobs_) work.emplace_back(&job, &results_[id]);
  std::atomic<size_t> next{0};
  ThreadPool pool(threads);
  pool.run([&](Part) {
    for (size_t i = next.fetch_add(1); i < work.size(); i = next.fetch_add(1)) {
      const Job& job = *work[i].first;
      Result& result = *work[i].second;
      result.judgement = judge_stage({model_, *job.view, *job.tokens}, job.stage, job.layer, &result.why);
    }
  });
  jobs_.clear();
}

const OraclePass::Result* OraclePass::find(const PhaseView& view, Stage stage, int layer) const {
  if (view.find(stage, layer) == nullptr) return nullptr;
  const auto it = results_.find(key(view, stage, layer));
  return it == results_.end() ? nullptr : &it->second;
}

}  // namespace greta::isolate
