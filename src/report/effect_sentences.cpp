#include <cctype>

#include "report/writer.h"

namespace greta::report {
namespace {

std::string percent(double share) {
  const double value = 100 * share;
  return value < 0.1 && value > 0 ? "0.1 %" : fmt::format("{:.{}f} %", value, value < 10 ? 1 : 0);
}

/// "Q", as the table has it; or the stage's name.
std::string stage_word(Stage stage) {
  std::string word(name(stage));
  if (word.size() == 1) word[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(word[0])));
  return word;
}

bool is_stage_of_matrix(Stage stage) { return stage == Stage::q || stage == Stage::k || stage == Stage::v; }

}  // namespace

std::string Writer::mae_of() const {
  const Effects& effects = facts.effects;
  const bool in_table = verdict.layers.empty() || effects.layer == verdict.layers.front();
  const std::string word = stage_word(effects.stage);
  if (effects.layer == kNoLayer || (in_table && is_stage_of_matrix(effects.stage))) return word;
  return say(Phrase::mae_in_layer, word, effects.layer);
}

std::string Writer::effect_on_fault(const Effect& effect, Phrase factor) const {
  const std::string word = say(factor);
  if (effect.splits) {
    if (effect.shows_with.empty() || effect.not_with.empty()) return say(Phrase::fault_splits, word);
    return say(Phrase::fault_with, word, join(effect.shows_with), join(effect.not_with));
  }
  if (factor == Phrase::factor_prompt) {
    return effect.sized ? say(Phrase::fault_any_prompt, percent(effect.mae), mae_of())
                        : say(Phrase::fault_every_prompt);
  }
  if (!effect.sized) return say(Phrase::fault_everywhere, word);
  Phrase which = Phrase::fault_some;
  if (effect.fault <= kNoEffect) which = effect.mae <= kNoEffect ? Phrase::fault_none : Phrase::fault_same;
  if (effect.mae == 0) which = Phrase::fault_zero;
  return say(which, word, percent(effect.mae), mae_of());
}

std::string Writer::effect_of_phase() const {
  const Finding& first = facts.findings.front().first;
  if (first.phase == Phases::both) return say(Phrase::fault_of_both);
  const bool prefill = first.phase == Phases::prefill;
  const Phase other = prefill ? Phase::decode : Phase::prefill;
  std::optional<double> ratio = noise_at(verdict, other, first.layer, first.stage);
  if (const double own = prefill ? first.noise_ratio_decode : first.noise_ratio_prefill; !ratio && own > 0)
    ratio = own;
  if (!ratio) return say(Phrase::fault_other_phase_unseen, name(first.phase), name(other));
  if (*ratio > 1) return say(Phrase::fault_of_each);
  return say(Phrase::fault_of_phase, name(first.phase), name(other), brief(*ratio));
}

std::vector<std::string> Writer::effects_on_fault() const {
  const Effects& effects = facts.effects;
  std::vector<std::string> sentences;
  if (effects.route) sentences.push_back(effect_on_fault(*effects.route, Phrase::factor_route));
  if (effects.gemm) sentences.push_back(effect_on_fault(*effects.gemm, Phrase::factor_gemm));
  if (std::string phase = effect_of_phase(); !phase.empty()) sentences.push_back(std::move(phase));
  if (effects.prompt) sentences.push_back(effect_on_fault(*effects.prompt, Phrase::factor_prompt));
  if (effects.interaction) {
    const Phrase which =
        *effects.interaction <= kNoEffect ? Phrase::interaction_none : Phrase::interaction_some;
    sentences.push_back(say(which, percent(*effects.interaction)));
  }
  const bool constant = effects.route && effects.route->fault <= kNoEffect &&
                        (!effects.gemm || effects.gemm->fault <= kNoEffect);
  if (constant && is_stage_of_matrix(effects.stage)) {
    const bool prefill = facts.findings.front().first.phase == Phases::prefill;
    sentences.push_back(say(prefill ? Phrase::not_the_route_prefill : Phrase::not_the_route));
  }
  return sentences;
}

/// Without a fault to measure: what moves the table's Q, and that it is rounding.
std::vector<std::string> Writer::effects_on_table() const {
  const Effects& effects = facts.effects;
  std::vector<std::string> sentences;
  const auto add = [&](const std::optional<Effect>& effect, Phrase factor) {
    if (!effect) return;
    const Phrase small = effect->mae == 0 ? Phrase::effect_zero : Phrase::effect_none;
    const Phrase which = effect->mae <= kNoEffect ? small : Phrase::effect_some;
    sentences.push_back(say(which, say(factor), percent(effect->mae), mae_of()));
  };
  add(effects.route, Phrase::factor_route);
  if (verdict.status == RunStatus::rounding && effects.route && effects.route->mae > kNoEffect) {
    sentences.push_back(say(Phrase::effect_is_rounding));
  }
  add(effects.gemm, Phrase::factor_gemm);
  return sentences;
}

std::vector<std::string> Writer::factor_effects() const {
  if (facts.experiments.size() > 1 && facts.mae_all_zero && verdict.status == RunStatus::equal)
    return {say(Phrase::mae_all_zero)};
  if (!facts.effects.of_fault && !facts.findings.empty()) return {};
  return facts.effects.of_fault ? effects_on_fault() : effects_on_table();
}

}  // namespace greta::report
