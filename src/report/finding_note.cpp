// A finding as an expert would note it down: what is wrong, since where, how sure and why, what was ruled
// out, what to do next.

#include <algorithm>
#include <cmath>
#include <span>

#include "report/writer.h"

namespace greta::report {
namespace {

constexpr size_t kMaxRuledOut = 3;  // besides the runner-up
/// Of the residual: what explains less is not worth its sentence.
constexpr double kResembles = 0.9;

/// All stages before one, in execution order, that were judged in a phase.
struct Before {
  int64_t judged = 0;
  bool clean = true;
};

Before before(const Verdict& verdict, const Finding& finding) {
  Before result;
  for (const StageNoise& noise : verdict.noise) {
    const bool earlier = At{noise.layer, noise.stage} < At{finding.layer, finding.stage};
    if (!concerns(finding.phase, noise.phase) || !earlier) continue;
    ++result.judged;
    result.clean &= noise.ratio <= 1;
  }
  return result;
}

/// The larger of the phases that the finding is about.
std::optional<double> noise_of(const Verdict& verdict, const Finding& finding, At at) {
  std::optional<double> worst;
  for (const Phase phase : {Phase::prefill, Phase::decode}) {
    if (!concerns(finding.phase, phase)) continue;
    const std::optional<double> ratio = noise_at(verdict, phase, at.layer, at.stage);
    if (ratio) worst = std::max(worst.value_or(0), *ratio);
  }
  return worst;
}

struct Input {
  std::string name;
  double ratio = 0;
};

/// What the stage is computed from; empty when part of it was not judged.
std::vector<Input> inputs_of(const Verdict& verdict, const Finding& finding) {
  if (info(finding.stage).kind == StageKind::embedding) return {};
  const int n_layer = verdict.layers.empty() ? 0 : verdict.layers.back() + 1;
  const auto judged = [&](At at) { return noise_of(verdict, finding, at).has_value(); };
  std::vector<Input> inputs;
  for (At at : operands_of({finding.layer, finding.stage}, n_layer,
                           [&](At input) { return judged(input) || !few_have(input.stage); })) {
    std::string word(name(at.stage));
    if (!judged(at)) {  // perhaps it is another one as it is: x_in
      const std::vector<At> same = operands_of(at, n_layer, [](At) { return true; });
      if (info(at.stage).kind != StageKind::embedding || same.empty() || !judged(same.front())) return {};
      at = same.front();
      word = fmt::format("L{} {}", at.layer, name(at.stage));
    }
    inputs.push_back({word, *noise_of(verdict, finding, at)});
  }
  return inputs;
}

/// Where to look for a cause of this family; none for what has no name.
std::optional<Phrase> place_of(CauseFamily family) {
  switch (family) {
    case CauseFamily::none: return std::nullopt;
    case CauseFamily::weight: return Phrase::look_weight;
    case CauseFamily::sum:
    case CauseFamily::unit: return Phrase::look_sum;
    case CauseFamily::output: return Phrase::look_output;
    case CauseFamily::input: return Phrase::look_input;
    case CauseFamily::elementwise: return Phrase::look_elementwise;
    case CauseFamily::norm: return Phrase::look_norm;
    case CauseFamily::rope: return Phrase::look_rope;
    case CauseFamily::cache: return Phrase::look_cache;
    case CauseFamily::attention: return Phrase::look_attention;
    case CauseFamily::experts: return Phrase::look_experts;
    case CauseFamily::plan: return Phrase::look_plan;
  }
  return std::nullopt;
}

}  // namespace

bool is_of_runs(const Finding& finding) {
  return finding.difference.has_value() && !finding.difference->cause.empty();
}

std::string Writer::title(const Finding& finding) const { return finding.title.in(language); }

std::string Writer::in_phase(const Finding& finding) const {
  if (finding.phase == Phases::both) return say(Phrase::both);
  return (language == Language::spanish ? "el " : "") + std::string(name(finding.phase));
}

std::vector<std::string> Writer::difference(const Finding& finding) const {
  std::vector<std::string> sentences;
  if (!finding.difference) return sentences;
  for (const Text& told : finding.difference->told) sentences.push_back(told.in(language));
  return sentences;
}

std::vector<std::string> Writer::cause(const Finding& finding) const {
  if (is_of_runs(finding)) return {say(Phrase::finding_difference, title(finding), finding.best)};
  const std::string explained = fmt::format("{:.5f}", finding.explained_residual);
  if (finding.cause == Cause::named) {
    std::vector<std::string> sentences = {
        say(Phrase::finding_hypothesis, title(finding), finding.best, explained),
        say(Phrase::finding_within, brief(finding.hypothesis_noise_ratio))};
    if (finding.held_up == HeldUp::yes) sentences.push_back(say(Phrase::finding_held_up));
    if (!finding.by_arithmetic.empty())
      sentences.push_back(say(Phrase::finding_by_arithmetic, finding.by_arithmetic));
    return sentences;
  }
  if (finding.cause == Cause::ambiguous) {
    return {say(Phrase::finding_ambiguous, title(finding), finding.best, explained, finding.runner_up,
                fmt::format("{:.5f}", finding.runner_up_residual)),
            say(Phrase::finding_separate)};
  }
  const bool some = !finding.sought;
  if (finding.best.empty() && some)
    return {say(Phrase::finding_not_sought), say(Phrase::finding_sought_in_some)};
  if (finding.best.empty()) return {say(Phrase::finding_unexplained_none)};
  const std::string nearest = finding.nearest.in(language);
  if (finding.held_up == HeldUp::no_other_row && finding.hypothesis_noise_ratio <= 1)
    return {say(Phrase::finding_one_row, nearest, finding.best)};
  if (finding.held_up == HeldUp::no && finding.hypothesis_noise_ratio <= 1)
    return {say(Phrase::finding_not_elsewhere, nearest, finding.best)};
  std::vector<std::string> sentences = {say(Phrase::finding_unexplained, finding.ruled_out.size() + 1)};
  if (finding.explained_residual >= kResembles) {
    sentences.push_back(say(Phrase::finding_resembles, nearest, finding.best, explained,
                            brief(finding.hypothesis_noise_ratio)));
  } else {
    sentences.push_back(say(Phrase::finding_best, finding.best, residual(finding.explained_residual)));
  }
  if (some) sentences.push_back(say(Phrase::finding_sought_in_some));
  return sentences;
}

std::string Writer::runner_up(const Finding& finding) const {
  if (finding.cause == Cause::ambiguous) return "";
  if (finding.runner_up.empty()) return finding.cause == Cause::named ? say(Phrase::finding_no_rival) : "";
  return say(Phrase::finding_runner_up, finding.runner_up, residual(finding.runner_up_residual));
}

std::string Writer::ruled_out(const Finding& finding) const {
  std::vector<RuledOut> others = finding.ruled_out;
  std::erase_if(others, [&](const RuledOut& other) { return other.hypothesis == finding.runner_up; });
  if (others.empty()) return "";
  std::vector<std::string> words;
  const size_t named = others.size() == kMaxRuledOut + 1 ? others.size() : kMaxRuledOut;  // no "1 others"
  for (size_t i = 0; i < others.size() && i < named; ++i) {
    words.push_back(fmt::format("{} ({})", others[i].hypothesis, residual(others[i].explained_residual)));
  }
  if (others.size() > named) {
    double best = 0;
    for (size_t i = named; i < others.size(); ++i) best = std::max(best, others[i].explained_residual);
    const Phrase which = best < 0.5 ? Phrase::ruled_out_rest_below : Phrase::ruled_out_rest;
    words.push_back(say(which, others.size() - named, residual(best)));
  }
  return say(Phrase::finding_ruled_out, join(words));
}

std::vector<std::string> Writer::since(const Finding& finding) const {
  std::vector<std::string> sentences;
  if (const Before earlier = before(verdict, finding); earlier.judged > 0 && earlier.clean)
    sentences.push_back(say(Phrase::finding_all_clean, earlier.judged, in_phase(finding)));
  std::vector<std::string> clean, wrong;
  double ratio = 0;
  for (const Input& input : inputs_of(verdict, finding)) {
    (input.ratio <= 1 ? clean : wrong).push_back(input.name);
    ratio = std::max(ratio, input.ratio);
  }
  if (!wrong.empty()) {
    sentences.push_back(say(Phrase::finding_input_wrong, join(wrong)));
  } else if (!clean.empty() && finding.gap.empty()) {
    sentences.push_back(say(Phrase::finding_starts_here, join(clean), brief(ratio)));
  }
  return sentences;
}

/// One wrong element, and the kernel that made it: of the worst recording.
std::string Writer::element(const Finding& finding) const {
  for (const StageNoise& noise : verdict.noise) {
    const bool here = noise.layer == finding.layer && noise.stage == finding.stage &&
                      concerns(finding.phase, noise.phase) && noise.ratio > 1;
    if (!here || noise.picture == nullptr || noise.picture->values.empty()) continue;
    const auto error = [](const ErrorPicture::Value& value) {
      const auto observed = static_cast<double>(value.observed);
      if (observed == value.expected) return 0.0;  // such as -inf, of a masked score
      const double ratio = std::abs(observed - value.expected) / value.bound;
      return std::isnan(ratio) ? INFINITY : ratio;
    };
    const auto& values = noise.picture->values;
    const auto worst = std::max_element(values.begin(), values.end(),
                                        [&](const auto& a, const auto& b) { return error(a) < error(b); });
    return say(Phrase::finding_element, noise.kernel.empty() ? std::string(name(noise.stage)) : noise.kernel,
               noise.picture->position, worst->element, fmt::format("{:.6g}", worst->observed),
               fmt::format("{:.6g}", worst->expected), fmt::format("{:.2g}", worst->bound));
  }
  return "";
}

/// Where nobody made experiments, a cell is a prompt.
std::string Writer::cells_of(const Finding& finding) const {
  if (has_routes()) return cell_list(finding.cells, language);
  std::vector<std::string> prompts;
  for (const CellKey& cell : finding.cells) prompts.push_back(cell.prompt);
  return join(prompts);
}

std::string Writer::gap(const Finding& finding) const {
  if (finding.gap.empty()) return "";
  std::vector<Stage> gap = finding.gap;
  std::sort(gap.begin(), gap.end());
  std::vector<std::string> names;
  for (const Stage stage : gap) names.emplace_back(name(stage));
  const std::span<const Stage> from = greta::inputs_of(gap.front());
  if (from.empty()) return say(Phrase::finding_gap_start, name(finding.stage), join(names));
  return say(Phrase::finding_gap, name(common_input(gap.front())), name(finding.stage), join(names));
}

std::string Writer::pattern(const FindingGroup& group) const {
  if (group.pattern_varies) return say(Phrase::finding_pattern_varies);
  const std::string& text = group.first.pattern.in(language);
  if (!text.empty()) return say(Phrase::finding_pattern, text);
  return group.first.cause == Cause::unexplained ? say(Phrase::finding_pattern_all) : "";
}

/// What stages of one cause have in common.
std::vector<std::string> Writer::shared(const FindingGroup& group) const {
  if (group.places.size() == 1) return {};
  std::vector<std::string> sentences, others;
  for (size_t i = 1; i < group.places.size(); ++i) others.emplace_back(name(group.places[i].stage));
  if (group.first.cause == Cause::named) sentences.push_back(say(Phrase::finding_same_in, join(others)));
  if (group.first.kernels.size() == 1)
    sentences.push_back(say(Phrase::finding_one_kernel, group.first.kernels.front()));
  return sentences;
}

std::vector<std::string> Writer::intervention(const FindingGroup& group) const {
  if (!group.first.intervention) {
    if (!group.first.difference) return {};
    return {say(is_of_runs(group.first) ? Phrase::finding_runs_are_proof : Phrase::finding_no_intervention)};
  }
  const Intervention& done = *group.first.intervention;
  const At at = group.intervention_at;
  const std::string what = say(Phrase::intervention_what, name(at.stage), in_phase(group.first));
  const std::string result = say(done.mismatch_removed ? Phrase::confirmed : Phrase::not_confirmed);
  const std::string from = brief(done.mismatch_before), to = brief(done.mismatch_after),
                    logits_from = brief(done.logits_before), logits_to = brief(done.logits_after);
  std::vector<std::string> sentences;
  if (at.layer == kNoLayer) {
    sentences.push_back(say(Phrase::finding_intervention_no_layer, what, done.prompt, from, to, logits_from,
                            logits_to, result));
  } else {
    sentences.push_back(say(Phrase::finding_intervention, what, at.layer, done.prompt, from, to, logits_from,
                            logits_to, result));
  }
  if (group.interventions > 1)
    sentences.push_back(say(Phrase::finding_interventions, group.confirmed, group.interventions));
  return sentences;
}

/// Two phases that are wrong alike agree: then their difference says nothing.
std::string Writer::numbers(const Finding& finding) const {
  if (finding.phase == Phases::both) return say(Phrase::finding_ratio, brief(finding.noise_ratio));
  return say(Phrase::finding_numbers, fmt::format("{:.3e}", finding.mae), brief(finding.noise_ratio));
}

std::vector<std::string> Writer::figures(const Finding& finding) const {
  std::vector<std::string> sentences{numbers(finding)};
  const auto side = [&](Phase phase, double own) {
    if (own > 0) return brief(own);
    const std::optional<double> ratio = noise_at(verdict, phase, finding.layer, finding.stage);
    return ratio ? brief(*ratio) : say(Phrase::not_judged);
  };
  if (finding.noise_ratio_prefill > 0 || finding.noise_ratio_decode > 0) {
    sentences.push_back(say(Phrase::finding_noise_sides, side(Phase::prefill, finding.noise_ratio_prefill),
                            side(Phase::decode, finding.noise_ratio_decode)));
  }
  return sentences;
}

std::string Writer::look(const Finding& finding) const {
  const std::optional<Phrase> place = place_of(finding.family);
  return place ? say(*place, in_phase(finding)) : "";
}

std::vector<std::string> Writer::finding(const FindingGroup& group) const {
  const Finding& finding = group.first;
  std::vector<std::string> sentences = cause(finding);
  for (std::string& sentence : difference(finding)) sentences.push_back(std::move(sentence));
  if (is_of_runs(finding)) {
    for (std::string& sentence : intervention(group)) sentences.push_back(std::move(sentence));
    sentences.push_back(say(Phrase::finding_cells, cells_of(finding)));
    sentences.push_back(look(finding));
    return sentences;
  }
  const auto add = [&sentences](std::string sentence) {
    if (!sentence.empty()) sentences.push_back(std::move(sentence));
  };
  const auto add_all = [&](std::vector<std::string> some) {
    for (std::string& sentence : some) add(std::move(sentence));
  };
  add_all(shared(group));
  if (finding.cause != Cause::named) add(say(Phrase::finding_inputs_equal));
  add(runner_up(finding));
  add(ruled_out(finding));
  add_all(intervention(group));
  add_all(since(finding));
  add(gap(finding));
  if (finding.scope) add(scope(*finding.scope));
  add(pattern(group));
  add(element(finding));
  add_all(figures(finding));
  if (!finding.cells.empty()) add(say(Phrase::finding_cells, cells_of(finding)));
  if (!finding.prompts_that_cannot_show.empty())
    add(say(Phrase::blind_prompts, join(finding.prompts_that_cannot_show)));
  add(look(finding));
  return sentences;
}

std::vector<std::string> Writer::finding_brief(const FindingGroup& group) const {
  std::vector<std::string> sentences = cause(group.first);
  for (std::string& sentence : difference(group.first)) sentences.push_back(std::move(sentence));
  if (is_of_runs(group.first)) {
    for (std::string& sentence : intervention(group)) sentences.push_back(std::move(sentence));
    return sentences;
  }
  std::vector<std::string> rest = shared(group);
  if (group.first.scope) rest.push_back(scope(*group.first.scope));
  for (std::string sentence :
       {runner_up(group.first), gap(group.first), pattern(group), element(group.first)})
    rest.push_back(std::move(sentence));
  for (std::string& sentence : intervention(group)) rest.push_back(std::move(sentence));
  for (std::string& sentence : rest) {
    if (!sentence.empty()) sentences.push_back(std::move(sentence));
  }
  sentences.push_back(numbers(group.first));
  return sentences;
}

}  // namespace greta::report
