#include "experiment/whatif.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "judge/attest.h"
#include "judge/judge.h"
#include "record/matrix.h"
#include "record/recorder.h"

namespace greta {
namespace {

/// A prefill of every prompt that keeps x_out and the logits of all positions.
void run_all_rows(Engine& engine, const MatrixRequest& request, UnitRun& unit) {
  Recorder recorder([&unit](const Event& event, std::span<const float> values) {
    std::vector<float>& rows = event.layer == kNoLayer ? unit.logits : unit.x_out[event.layer];
    rows.insert(rows.end(), values.begin(), values.end());
  });
  RecordScope scope;
  scope.layers = [&request](int layer) {
    return layer == kNoLayer ||
           std::find(request.layers.begin(), request.layers.end(), layer) != request.layers.end();
  };
  scope.stages = [](Stage stage) { return stage == Stage::x_out || stage == Stage::logits; };
  scope.rows = [](Stage, int64_t n_pos) {
    std::vector<int64_t> all(static_cast<size_t>(n_pos));
    for (int64_t i = 0; i < n_pos; ++i) all[static_cast<size_t>(i)] = i;
    return all;
  };
  for (const Prompt& prompt : request.prompts) {
    const int64_t n = std::ssize(prompt.tokens);
    Plan plan = changed_plan(engine, Phase::prefill, block_of(n, request.prefill_block), request.routes,
                             request.change);
    PlanEdit edit(plan);
    edit.keep_all_rows();
    insert_records(edit, recorder, scope);
    edit.commit();
    Session session(engine, n, {.inner = plan, .last = plan, .steps = {}});
    session.prefill(prompt.tokens);
  }
}

/// Sums over the rows of one stage.
struct Difference {
  double max = 0, sum = 0;
  int64_t count = 0;

  void add(std::span<const float> reference, std::span<const float> unit) {
    const PairMetrics metrics = compare(reference, unit);
    max = std::max(max, metrics.max_abs);
    sum += metrics.mae * static_cast<double>(metrics.count);
    count += metrics.count;
  }
  double mean() const { return count == 0 ? 0 : sum / static_cast<double>(count); }
};

using Place = std::tuple<Phase, int, Stage>;

/// Values of an event. The last row of a prompt is in "prefill" and in "prefill_last": it counts once.
std::span<const float> values_of(const Bundle& bundle, const Event& event, int64_t last_position) {
  const std::vector<float>* data = bundle.data(event);
  if (data == nullptr) return {};
  if (event.seen() != Seen::prefill) return *data;
  const std::vector<int64_t> positions = positions_of(event);
  const std::optional<Stage> stage = stage_from_name(event.stage);
  const bool cache = stage && info(*stage).row_per == RowPer::cache;  // whole in prefill_last
  const bool doubled = cache || positions.empty();
  if (doubled) return {};
  const size_t width = data->size() / positions.size();
  return std::span(*data).first(data->size() - (positions.back() == last_position ? width : 0));
}

std::map<Place, Difference> differences(const UnitRun& reference, const UnitRun& unit) {
  std::map<std::string, const Event*> others;
  const auto key = [](const Event& event) {
    return fmt::format("{} {} {} {}", event.cell, event.phase, event.layer, event.stage);
  };
  for (const Event& event : reference.bundle.events) others[key(event)] = &event;
  std::map<Place, Difference> all;
  for (const Event& event : unit.bundle.events) {
    const std::optional<Stage> stage = stage_from_name(event.stage);
    const auto other = others.find(key(event));
    if (!stage || other == others.end()) continue;
    const int64_t last = std::ssize(prompt_tokens(unit.bundle, event.prompt_id)) - 1;
    const auto a = values_of(reference.bundle, *other->second, last);
    const auto b = values_of(unit.bundle, event, last);
    if (!a.empty() && a.size() == b.size()) all[{phase_of(event.seen()), event.layer, *stage}].add(a, b);
  }
  return all;
}

/// By rows: one position with a huge norm (models have such) would hide all others.
double mean_rel_l2(std::span<const float> reference, std::span<const float> unit, int64_t width) {
  const size_t n = static_cast<size_t>(width);
  double sum = 0;
  for (size_t row = 0; row + n <= unit.size(); row += n)
    sum += compare(reference.subspan(row, n), unit.subspan(row, n)).rel_l2;
  return unit.empty() ? 0 : sum / static_cast<double>(unit.size() / n);
}

LogitDifference logit_difference(std::span<const float> reference, std::span<const float> unit,
                                 size_t n_vocab) {
  LogitDifference result;
  Difference difference;
  difference.add(reference, unit);
  result.max_abs = difference.max;
  result.mean_abs = difference.mean();
  for (size_t row = 0; row + n_vocab <= unit.size(); row += n_vocab) {
    const LogitMetrics metrics = compare_logits(reference.subspan(row, n_vocab), unit.subspan(row, n_vocab));
    ++result.positions;
    result.top1_agree += metrics.top1_agree;
    result.kl_mean += metrics.kl;
    result.kl_max = std::max(result.kl_max, metrics.kl);
  }
  if (result.positions > 0) result.kl_mean /= static_cast<double>(result.positions);
  return result;
}

std::string place_of(const Finding& finding) {
  const std::string layer = finding.layer == kNoLayer ? "" : fmt::format(" layer {}", finding.layer);
  return fmt::format("{}{} {}", name(finding.phase), layer, name(finding.stage));
}

}  // namespace

UnitRun run_unit(Engine& engine, MatrixRequest request) {
  request.experiments = parse_experiments("E0");
  UnitRun unit;
  unit.device = engine.options().device;
  unit.bundle = record_matrix(engine, request);
  unit.verdict =
      judge(unit.bundle, engine.model(), {.threads = engine.options().threads, .causes = Causes::none});
  unit.bias = accumulation_bias(unit.bundle, engine.model(), engine.options().threads);
  run_all_rows(engine, request, unit);
  return unit;
}

UnitResult compare_units(const UnitRun& reference, const UnitRun& unit, const ModelConfig& config) {
  UnitResult result;
  result.device = unit.device;
  result.status = unit.verdict.status;
  result.bias = unit.bias;
  if (!unit.verdict.findings.empty()) result.first_fault = place_of(unit.verdict.findings.front());
  std::map<Place, double> ratios;
  for (const StageNoise& noise : unit.verdict.noise) {
    ratios[{noise.phase, noise.layer, noise.stage}] = noise.ratio;
    result.max_noise_ratio = std::max(result.max_noise_ratio, noise.ratio);
  }
  for (const auto& [place, difference] : differences(reference, unit)) {
    const auto& [phase, layer, stage] = place;
    result.stages.push_back({phase, layer, stage, difference.max, difference.mean(), ratios[place]});
  }
  for (const auto& [layer, rows] : unit.x_out)
    result.drift.push_back({layer, mean_rel_l2(reference.x_out.at(layer), rows, config.n_embd)});
  result.logits = logit_difference(reference.logits, unit.logits, static_cast<size_t>(config.n_vocab));
  return result;
}

RouteTable reference_routes() {
  RouteTable routes;
  routes.add(parse_route_rule("all=vector"));
  return routes;
}

}  // namespace greta
