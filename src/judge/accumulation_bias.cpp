#include "judge/accumulation_bias.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <tuple>

#include "base/parallel.h"
#include "judge/attest.h"
#include "judge/stage_oracle.h"
#include "numerics/activation.h"

namespace greta {
namespace {

struct Sums {
  int64_t count = 0;
  double up = 0, outward = 0;
  double expected_up = 0, expected_outward = 0;

  void add(double error, double drift, bool negative) {
    ++count;
    up += error;
    outward += negative ? -error : error;
    expected_up += drift;
    expected_outward += negative ? -drift : drift;
  }
  void add(const Sums& other) {
    count += other.count;
    up += other.up;
    outward += other.outward;
    expected_up += other.expected_up;
    expected_outward += other.expected_outward;
  }
};

/// Outputs of one input row share what was rounded of it: such clusters are independent, single outputs are
/// not. (The linearised variance of a ratio of cluster totals; Cochran, Sampling Techniques, 1977, ch. 6.)
Mean mean_of(const std::vector<Sums>& clusters, double Sums::*part, double Sums::*expected_part) {
  double sum = 0, expected = 0, count = 0, squares = 0;
  for (const Sums& cluster : clusters) {
    sum += cluster.*part;
    expected += cluster.*expected_part;
    count += static_cast<double>(cluster.count);
  }
  if (count == 0) return {};
  const double value = sum / count;
  for (const Sums& cluster : clusters) {
    const double off = cluster.*part - value * static_cast<double>(cluster.count);
    squares += off * off;
  }
  const auto n = static_cast<double>(clusters.size());
  return {value, n < 2 ? INFINITY : std::sqrt(n / (n - 1) * squares) / count, expected / count};
}

/// Distance of f32 numbers of this size.
double ulp_of(double size) { return std::ldexp(1.0, std::max(std::ilogb(size), -126) - 23); }

struct Job {
  const PhaseRecord* phase;
  At at;
  std::map<int64_t, Sums> rows = {};  // by position
  bool rule_known = false;
};

/// Of one row of outputs. `drift`: how far the unit's rule moves each of `expected`; or nothing.
Sums errors_of(std::span<const float> observed, std::span<const double> expected,
               std::span<const double> drift) {
  Sums sums;
  double squares = 0;
  for (const double value : expected) squares += value * value;
  const double rms = std::sqrt(squares / static_cast<double>(expected.size()));
  if (!std::isfinite(rms) || rms == 0) return sums;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double moved = drift.empty() ? 0 : drift[i], exact = expected[i] - moved;
    const double error = observed[i] - exact, ulp = ulp_of(std::max(std::abs(exact), rms));
    if (std::isfinite(error)) sums.add(error / ulp, moved / ulp, exact < 0);
  }
  return sums;
}

void measure(Job& job) {
  const PhaseRecord& phase = *job.phase;
  std::vector<int64_t> positions = recorded_positions(phase, job.at);
  // The last row of a prompt is in both recordings of it.
  if (phase.view.seen() == Seen::prefill) std::erase(positions, std::ssize(phase.tokens) - 1);
  std::string why;
  const auto subject = subject_of(phase, job.at, positions, &why);
  if (!subject || !subject->gap.empty()) return;
  const StageProblem& problem = *subject->problem;
  const Expected expected = expected_of(problem);
  if (expected.value.size() != subject->observed.size()) return;
  const size_t width = expected.value.size() / positions.size();
  const std::span<const float> inputs = problem.operands.front().values, observed = subject->observed;
  const size_t k = inputs.size() / positions.size();
  job.rule_known = !expected.drift.empty();
  for (size_t row = 0; row < positions.size(); ++row) {
    // Of an input within a rounding error of a tie nobody knows which way the kernel rounded it.
    if (!round_activations(inputs.subspan(row * k, k), problem.declared.roundings.activation).ties.empty())
      continue;
    const auto row_of = [&](std::span<const double> all) {
      return all.empty() ? all : all.subspan(row * width, width);
    };
    job.rows[positions[row]] =
        errors_of(observed.subspan(row * width, width), row_of(expected.value), row_of(expected.drift));
  }
}

/// By phase (prefill first) and route.
using Group = std::pair<Phase, std::string>;

/// The row that projections share: of q, k and v one, of gate and up one.
using Input = std::tuple<CellKey, int, Stage, int64_t>;  // cell, layer, its stage, position

}  // namespace

std::vector<AccumulationBias> accumulation_bias(const Bundle& bundle, const Model& model, int threads) {
  std::vector<std::unique_ptr<PhaseRecord>> phases;
  std::vector<Job> jobs;
  for (PhaseView& view : PhaseView::all_of(bundle)) {
    if (view.seen() == Seen::other) continue;
    const std::vector<TokenId> tokens = prompt_tokens(bundle, view.cell().prompt);
    phases.push_back(std::make_unique<PhaseRecord>(PhaseRecord{&model, std::move(view), tokens, nullptr}));
    for (const auto& [at, event] : phases.back()->view.events()) {
      if (info(at.stage).kind == StageKind::projection) jobs.push_back({phases.back().get(), at});
    }
  }
  parallel_for(threads, jobs.size(), [&](size_t i) { measure(jobs[i]); });

  std::map<Group, std::map<Input, Sums>> groups;
  std::map<Group, std::set<std::string>> kernels;
  std::set<Group> known;
  for (const Job& job : jobs) {
    const Event& event = *job.phase->view.find(job.at);
    const Group group{phase_of(event.seen()), event.route};
    for (const auto& [position, sums] : job.rows)
      groups[group][{event.key(), job.at.layer, common_input(job.at.stage), position}].add(sums);
    kernels[group].insert(event.kernel);
    if (job.rule_known) known.insert(group);
  }
  std::vector<AccumulationBias> result;
  for (const auto& [group, inputs] : groups) {
    std::vector<Sums> clusters;
    AccumulationBias bias{group.first, group.second};
    for (const auto& [input, sums] : inputs) {
      clusters.push_back(sums);
      bias.count += sums.count;
    }
    bias.kernels.assign(kernels[group].begin(), kernels[group].end());
    bias.inputs = std::ssize(clusters);
    bias.up = mean_of(clusters, &Sums::up, &Sums::expected_up);
    bias.outward = mean_of(clusters, &Sums::outward, &Sums::expected_outward);
    if (!known.contains(group)) bias.up.expected = bias.outward.expected = std::nullopt;
    result.push_back(std::move(bias));
  }
  return result;
}

}  // namespace greta
