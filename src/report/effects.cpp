#include "report/effects.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "report/attn_pipe.h"

namespace greta::report {
namespace {

double change(double a, double b) {
  if (a == b) return 0;
  if (!std::isfinite(a) || !std::isfinite(b)) return 1;
  return std::abs(a - b) / std::max(std::abs(a), std::abs(b));
}

/// One cell as its factors and what was measured.
struct Sample {
  std::string experiment, prompt, route;
  bool gemm = false;
  double mae = 0, ratio = 0;
  bool judged_alone = false;
  bool shows = false;
};

/// What the table says of the stage, of q for one that it does not list.
const ProjectionSeen& in_table(const Cell& cell, Stage stage) {
  if (stage == Stage::k) return cell.k;
  return stage == Stage::v ? cell.v : cell.q;
}

bool is_in_table(const Verdict& verdict, Stage stage, int layer) {
  const bool listed = stage == Stage::q || stage == Stage::k || stage == Stage::v;
  return listed && !verdict.layers.empty() && layer == verdict.layers.front();
}

const StagePair* pair_at(const Verdict& verdict, const CellKey& cell, const Finding& finding) {
  for (const StagePair& pair : verdict.pairs) {
    if (pair.cell == cell && pair.layer == finding.layer && pair.stage == finding.stage) return &pair;
  }
  return nullptr;
}

Sample factors_of(const Cell& cell, Stage stage) {
  Sample sample;
  sample.experiment = cell.key.experiment;
  sample.prompt = cell.key.prompt;
  sample.route = in_table(cell, stage).route;
  sample.gemm = cell.force_gemm;
  return sample;
}

std::vector<Sample> samples_at(const Verdict& verdict, const Finding& finding) {
  std::vector<Sample> samples;
  const bool listed = is_in_table(verdict, finding.stage, finding.layer);
  for (const Cell& cell : verdict.cells) {
    const StagePair* pair = pair_at(verdict, cell.key, finding);
    if (!cell.attested || !cell.paired || (pair == nullptr && !listed)) continue;
    Sample sample = factors_of(cell, finding.stage);
    sample.shows = std::find(finding.cells.begin(), finding.cells.end(), cell.key) != finding.cells.end();
    sample.mae = listed ? in_table(cell, finding.stage).mae : pair->metrics.mae;
    if (pair != nullptr && pair->judged_alone) {
      sample.judged_alone = true;
      sample.ratio = finding.phase == Phases::prefill ? pair->noise_ratio_prefill : pair->noise_ratio_decode;
    }
    samples.push_back(sample);
  }
  return samples;
}

std::vector<Sample> samples_of_table(const Verdict& verdict) {
  std::vector<Sample> samples;
  for (const Cell& cell : verdict.cells) {
    if (!cell.attested || !cell.paired) continue;
    Sample sample = factors_of(cell, Stage::q);
    sample.mae = cell.q.mae;
    sample.shows = true;
    samples.push_back(sample);
  }
  return samples;
}

/// The MAE is that of the fault: not of two phases alike wrong, nor of one wrong where nothing is rounded and
/// the rounding of the stages before shows.
bool is_sized(const Sample& a, const Sample& b, bool has_mae) {
  return has_mae && std::isfinite(a.ratio) && std::isfinite(b.ratio);
}

double change_of_fault(const Sample& a, const Sample& b, bool has_mae) {
  if (a.shows != b.shows) return 1;
  if (!is_sized(a, b, has_mae)) return 0;
  const double mae = change(a.mae, b.mae);
  return a.judged_alone && b.judged_alone ? std::min(mae, change(a.ratio, b.ratio)) : mae;
}

bool differ_in_route(const Sample& a, const Sample& b) {
  return a.prompt == b.prompt && a.gemm == b.gemm && a.route != b.route;
}
bool differ_in_gemm(const Sample& a, const Sample& b) {
  return a.prompt == b.prompt && a.gemm != b.gemm && a.route == b.route;
}
bool differ_in_prompt(const Sample& a, const Sample& b) {
  return a.experiment == b.experiment && a.prompt != b.prompt;
}

/// Values of the factor that tell the cells with the fault from those without; empty when they do not.
void split(const std::vector<std::pair<std::string, bool>>& seen, Effect& effect) {
  for (const auto& [value, shows] : seen) add_unique(shows ? effect.shows_with : effect.not_with, value);
  for (const std::string& value : effect.not_with) {
    const auto& with = effect.shows_with;
    if (std::find(with.begin(), with.end(), value) == with.end()) continue;
    effect.shows_with.clear();
    effect.not_with.clear();
    return;
  }
}

template <class Differ, class Value>
std::optional<Effect> measure(const std::vector<Sample>& samples, bool has_mae, Differ differ, Value value) {
  std::optional<Effect> effect;
  std::vector<std::pair<std::string, bool>> seen;
  for (size_t i = 0; i < samples.size(); ++i) {
    for (size_t j = i + 1; j < samples.size(); ++j) {
      const Sample &a = samples[i], &b = samples[j];
      if (!differ(a, b) || (!a.shows && !b.shows)) continue;  // without the fault only rounding moves
      if (!effect) effect.emplace();
      if (a.shows && b.shows) effect->mae = std::max(effect->mae, change(a.mae, b.mae));
      effect->fault = std::max(effect->fault, change_of_fault(a, b, has_mae));
      effect->sized &= is_sized(a, b, has_mae);
      effect->splits |= a.shows != b.shows;
      seen.emplace_back(value(a), a.shows);
      seen.emplace_back(value(b), b.shows);
    }
  }
  if (effect && effect->splits) split(seen, *effect);
  return effect;
}

/// The route's effect within each prompt that shows the fault,
/// signed by which route makes it larger: how far these lie apart.
std::optional<double> interaction_of(const std::vector<Sample>& samples, bool has_mae) {
  std::map<std::string, double> effects;  // by prompt
  for (const Sample& a : samples) {
    for (const Sample& b : samples) {
      if (!differ_in_route(a, b) || a.route > b.route || (!a.shows && !b.shows)) continue;
      const bool a_larger = a.shows != b.shows ? a.shows : a.mae > b.mae;
      const double moved = (a_larger ? 1 : -1) * change_of_fault(a, b, has_mae);
      double& effect = effects[a.prompt];
      if (std::abs(moved) > std::abs(effect)) effect = moved;
    }
  }
  if (effects.size() < 2) return std::nullopt;
  const auto less = [](const auto& a, const auto& b) { return a.second < b.second; };
  const auto [least, most] = std::minmax_element(effects.begin(), effects.end(), less);
  return most->second - least->second;
}

}  // namespace

Effects effects_of(const Verdict& verdict) {
  Effects effects;
  std::vector<Sample> samples;
  if (!verdict.findings.empty()) samples = samples_at(verdict, verdict.findings.front());
  effects.of_fault = !samples.empty();
  if (effects.of_fault) {
    const Finding& first = verdict.findings.front();
    effects.stage = first.stage;
    effects.layer = first.layer;
    effects.has_mae = first.phase != Phases::both;
  } else {
    samples = samples_of_table(verdict);
    effects.layer = verdict.layers.empty() ? kNoLayer : verdict.layers.front();
  }
  const auto route = [](const Sample& s) { return std::string(b3_31_route_used(s.route)); };
  const auto gemm = [](const Sample& s) { return std::string(s.gemm ? "force_gemm=1" : "force_gemm=0"); };
  effects.route = measure(samples, effects.has_mae, differ_in_route, route);
  effects.gemm = measure(samples, effects.has_mae, differ_in_gemm, gemm);
  effects.prompt =
      measure(samples, effects.has_mae, differ_in_prompt, [](const Sample& s) { return s.prompt; });
  if (effects.of_fault) effects.interaction = interaction_of(samples, effects.has_mae);
  return effects;
}

}  // namespace greta::report
