#include "isolate/accumulation_bias.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "base/thread_pool.h"
#include "isolate/attest.h"
#include "isolate/stage_oracle.h"

namespace greta::isolate {
namespace {

struct Sums {
  int64_t count = 0;
  double up = 0, outward = 0, squares = 0;  // the square does not know the sign

  void add(double error, bool negative) {
    ++count;
    up += error;
    outward += negative ? -error : error;
    squares += error * error;
  }
  void add(const Sums& other) {
    count += other.count;
    up += other.up;
    outward += other.outward;
    squares += other.squares;
  }
  Mean mean(double sum) const {
    if (count < 2) return {sum, 0};
    const auto n = static_cast<double>(count);
    const double value = sum / n;
    return {value, std::sqrt(std::max(0.0, squares / n - value * value) / (n - 1))};
  }
};

/// Distance of f32 numbers of this size.
double ulp_of(double size) { return std::ldexp(1.0, std::max(std::ilogb(size), -126) - 23); }

Sums errors_of(const PhaseRecord& phase, Stage stage, int layer) {
  Sums sums;
  std::string why;
  const auto subject = subject_of(phase, stage, layer, recorded_positions(phase, stage, layer), &why);
  if (!subject || !subject->gap.empty()) return sums;
  const Expected expected = expected_of(*subject->problem);
  if (expected.value.size() != subject->observed.size()) return sums;
  const size_t width = expected.value.size() / subject->problem->positions.size();
  for (size_t begin = 0; begin < expected.value.size(); begin += width) {
    double squares = 0;
    for (size_t i = begin; i < begin + width; ++i) squares += expected.value[i] * expected.value[i];
    const double rms = std::sqrt(squares / static_cast<double>(width));
    if (!std::isfinite(rms) || rms == 0) continue;
    for (size_t i = begin; i < begin + width; ++i) {
      const double value = expected.value[i], error = subject->observed[i] - value;
      if (std::isfinite(error)) sums.add(error / ulp_of(std::max(std::abs(value), rms)), value < 0);
    }
  }
  return sums;
}

struct Job {
  const PhaseRecord* phase;
  Stage stage;
  int layer;
  Sums sums = {};
};

/// By phase (prefill first) and route.
using Group = std::pair<bool, std::string>;

}  // namespace

std::vector<AccumulationBias> accumulation_bias(const trace::Bundle& bundle, const Model& model,
                                                int threads) {
  std::vector<std::unique_ptr<PhaseRecord>> phases;
  std::vector<Job> jobs;
  for (const Cell& cell : cells_of(bundle)) {
    for (const char* phase : {trace::kPrefillLast, trace::kDecode0}) {
      phases.push_back(std::make_unique<PhaseRecord>(
          PhaseRecord{&model, PhaseView(bundle, cell.experiment + "/" + cell.prompt, phase),
                      prompt_tokens(bundle, cell.prompt), nullptr}));
      for (const auto& [at, event] : phases.back()->view.events()) {
        if (is_projection(at.second)) jobs.push_back({phases.back().get(), at.second, at.first});
      }
    }
  }
  std::atomic<size_t> next{0};
  ThreadPool pool(threads);
  pool.run([&](Part) {
    for (size_t i = next.fetch_add(1); i < jobs.size(); i = next.fetch_add(1))
      jobs[i].sums = errors_of(*jobs[i].phase, jobs[i].stage, jobs[i].layer);
  });

  std::map<Group, Sums> groups;
  std::map<Group, std::set<std::string>> kernels;
  for (const Job& job : jobs) {
    const trace::Event& event = *job.phase->view.find(job.stage, job.layer);
    const Group group{event.phase == trace::kDecode0, event.route};
    groups[group].add(job.sums);
    kernels[group].insert(event.kernel);
  }
  std::vector<AccumulationBias> result;
  for (const auto& [group, sums] : groups) {
    result.push_back({group.first ? trace::kDecode0 : trace::kPrefillLast,
                      group.second,
                      {kernels[group].begin(), kernels[group].end()},
                      sums.count,
                      sums.mean(sums.up),
                      sums.mean(sums.outward)});
  }
  return result;
}

}  // namespace greta::isolate
