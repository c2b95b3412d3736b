#include "report/sentences.h"

#include <algorithm>

namespace greta::report {
namespace {

using isolate::Status;

constexpr size_t kMaxListed = 8;

Phrase verdict_phrase(Status status) {
  switch (status) {
    case Status::equal: return Phrase::verdict_equal;
    case Status::rounding: return Phrase::verdict_rounding;
    case Status::fault: return Phrase::verdict_fault;
    case Status::inert_factor: return Phrase::verdict_inert;
    case Status::vacuous: return Phrase::verdict_vacuous;
    case Status::ambiguous: return Phrase::verdict_ambiguous;
    default: return Phrase::verdict_inconclusive;
  }
}

Phrase advice_for(Stage stage) {
  if (is_projection(stage)) return Phrase::next_projection;
  switch (stage) {
    case Stage::attn_norm:
    case Stage::q_norm:
    case Stage::k_norm:
    case Stage::ffn_norm:
    case Stage::final_norm: return Phrase::next_norm;
    case Stage::q_rope:
    case Stage::k_rope: return Phrase::next_rope;
    case Stage::kv_write: return Phrase::next_cache;
    case Stage::qk:
    case Stage::softmax:
    case Stage::pv: return Phrase::next_attention;
    case Stage::x_attn:
    case Stage::act:
    case Stage::x_out: return Phrase::next_elementwise;
    default: return Phrase::next_other;
  }
}

std::string percent(double share) {
  const double value = 100 * share;
  return value < 0.1 && value > 0 ? "0.1 %" : fmt::format("{:.{}f} %", value, value < 10 ? 1 : 0);
}

/// "E0, E1 x p4_sys, p5_ba" when the cells are all pairs of some experiments and prompts; else "".
std::string as_product(const std::vector<std::string>& cells) {
  std::vector<std::string> experiments, prompts;
  const auto add = [](std::vector<std::string>& words, std::string word) {
    if (std::find(words.begin(), words.end(), word) == words.end()) words.push_back(std::move(word));
  };
  for (const std::string& cell : cells) {
    const size_t slash = cell.find('/');
    if (slash == std::string::npos) return "";
    add(experiments, cell.substr(0, slash));
    add(prompts, cell.substr(slash + 1));
  }
  if (experiments.size() * prompts.size() != cells.size()) return "";
  return join(experiments) + " x " + join(prompts);
}

}  // namespace

std::string brief(double value) { return fmt::format("{:.3g}", value); }

std::string cell_list(const std::vector<std::string>& cells, Language language) {
  if (cells.size() <= kMaxListed / 2) return join(cells);
  if (const std::string product = as_product(cells); !product.empty()) return product;
  if (cells.size() <= kMaxListed) return join(cells);
  const std::vector<std::string> shown(cells.begin(), cells.begin() + kMaxListed);
  return join(shown) + " " + say(language, Phrase::more, cells.size() - kMaxListed);
}

std::string Writer::place(const FindingGroup& finding) const {
  const std::string phase = finding.first.phase == "unknown" ? say(Phrase::unknown) : finding.first.phase;
  const std::string_view stage = name(finding.first.stage);
  if (finding.layers.empty()) return say(Phrase::finding_place_no_layer, stage, phase);
  const Phrase which = finding.layers.size() == 1 ? Phrase::finding_place : Phrase::finding_places;
  return say(which, layer_ranges(finding.layers), stage, phase);
}

std::string Writer::verdict_sentence() const {
  const Phrase which = verdict_phrase(verdict.status);
  if (which == Phrase::verdict_fault && !facts.findings.empty()) {
    FindingGroup first = facts.findings.front();
    if (!first.layers.empty()) first.layers.resize(1);
    return say(which, place(first));
  }
  return say(which, brief(facts.max_noise_ratio));
}

std::vector<std::string> Writer::factor_effects() const {
  if (facts.experiments.size() > 1 && facts.mae_all_zero && verdict.status == Status::equal) {
    return {say(Phrase::mae_all_zero)};
  }
  const Effects& effects = facts.effects;
  const char* letter = effects.stage == Stage::q ? "Q" : (effects.stage == Stage::k ? "K" : "V");
  std::vector<std::string> sentences;
  const auto add = [&](const std::optional<double>& effect, Phrase factor) {
    if (!effect) return;
    const Phrase small = *effect == 0 ? Phrase::effect_zero : Phrase::effect_none;
    const Phrase which = *effect <= kNoEffect ? small : Phrase::effect_some;
    sentences.push_back(say(which, say(factor), percent(*effect), letter));
  };
  add(effects.route, Phrase::factor_route);
  const bool innocent = verdict.status == Status::rounding || !facts.findings.empty();
  if (innocent && !effects.stage_faulty && effects.route.value_or(0) > kNoEffect) {
    sentences.push_back(say(Phrase::effect_is_rounding));
  }
  add(effects.gemm, Phrase::factor_gemm);
  if (effects.stage_faulty) {
    add(effects.prompt, Phrase::factor_prompt);
    const bool constant = effects.route.value_or(1) <= kNoEffect && effects.gemm.value_or(0) <= kNoEffect;
    if (constant) sentences.push_back(say(Phrase::not_the_route));
  }
  return sentences;
}

std::vector<std::string> Writer::finding(const FindingGroup& group) const {
  const isolate::Finding& finding = group.first;
  std::vector<std::string> sentences;
  const bool named = !finding.hypothesis.empty() && finding.hypothesis != "unexplained";
  const std::string& title = language == Language::english ? finding.title_en : finding.title_es;
  if (named) {
    sentences.push_back(say(Phrase::finding_hypothesis, title, finding.hypothesis,
                            fmt::format("{:.5f}", finding.explained_residual)));
  } else {
    sentences.push_back(say(Phrase::finding_inputs_equal));
    sentences.push_back(say(Phrase::finding_unexplained));
  }
  sentences.push_back(
      say(Phrase::finding_numbers, fmt::format("{:.3e}", finding.mae), brief(finding.noise_ratio)));
  if (finding.noise_ratio_prefill > 0 || finding.noise_ratio_decode > 0) {
    sentences.push_back(say(Phrase::finding_noise_sides, brief(finding.noise_ratio_prefill),
                            brief(finding.noise_ratio_decode)));
  }
  if (finding.phase == "unknown") sentences.push_back(say(Phrase::finding_phase_unknown));
  if (!finding.cells.empty())
    sentences.push_back(say(Phrase::finding_cells, cell_list(finding.cells, language)));
  if (!finding.prompts_that_cannot_show.empty()) {
    sentences.push_back(say(Phrase::blind_prompts, join(finding.prompts_that_cannot_show)));
  }
  return sentences;
}

std::string Writer::attestation() const {
  const size_t total = verdict.cells.size();
  if (total == 0) return say(Phrase::attested_no_cell);
  if (facts.unattested.empty()) return say(Phrase::attested_all, total);
  return say(Phrase::attested_not, total - facts.unattested.size(), total,
             cell_list(facts.unattested, language));
}

std::string Writer::logits() const {
  if (!facts.logits_recorded) return say(Phrase::top1_unknown);
  if (facts.top1_differs.empty()) return say(Phrase::top1_all);
  return say(Phrase::top1_not, cell_list(facts.top1_differs, language));
}

std::vector<std::string> Writer::coverage() const {
  const isolate::Coverage& coverage = verdict.coverage;
  std::vector<std::string> sentences{say(Phrase::coverage, fmt::format("{:.1f}", coverage.percent()),
                                         coverage.judged, coverage.recorded, coverage.propagated)};
  if (coverage.alone > 0) sentences.push_back(say(Phrase::coverage_alone, coverage.alone));
  for (const auto& [why, pairs] : facts.skipped)
    sentences.push_back(say(Phrase::coverage_skipped, pairs, why));
  return sentences;
}

std::vector<std::string> Writer::conclusion() const {
  std::vector<std::string> sentences;
  if (!verdict.aligned) sentences.push_back(say(Phrase::not_aligned));
  sentences.push_back(verdict_sentence());
  if (verdict.aligned) {
    std::vector<std::string> others;
    for (const auto& [status, experiments] : facts.groups) {
      const std::string list = join(experiments);
      if (status == Status::equal) {
        sentences.push_back(say(Phrase::groups_equal, list));
      } else if (status == Status::rounding) {
        sentences.push_back(say(Phrase::groups_rounding, list));
      } else if (status == Status::fault) {
        sentences.push_back(say(Phrase::groups_fault, list));
      } else {
        others.insert(others.end(), experiments.begin(), experiments.end());
      }
    }
    if (!others.empty()) sentences.push_back(say(Phrase::groups_other, join(others)));
    for (std::string& sentence : factor_effects()) sentences.push_back(std::move(sentence));
  }
  for (size_t i = 0; i < verdict.flags.size() && i < kMaxListed; ++i) {
    const isolate::Flag& flag = verdict.flags[i];
    sentences.push_back(say(Phrase::flagged, flag.flag, flag.cell, flag.why));
  }
  if (verdict.flags.size() > kMaxListed)
    sentences.push_back(say(Phrase::more, verdict.flags.size() - kMaxListed));
  if (verdict.findings.empty() && !facts.one_token_prompts.empty() && verdict.aligned) {
    sentences.push_back(say(Phrase::one_token_prompts, join(facts.one_token_prompts)));
  }
  for (const std::vector<std::string>& prompts : facts.same_last_token) {
    if (verdict.aligned && !facts.mae_all_zero) {
      sentences.push_back(say(Phrase::same_last_token, join(prompts)));
    }
  }
  const bool vouched = verdict.status == Status::equal || verdict.status == Status::rounding;
  if (vouched && verdict.coverage.alone < verdict.coverage.judged) {
    sentences.push_back(say(Phrase::shared_fault_unseen));
  }
  return sentences;
}

std::string Writer::next_for(const FindingGroup& group) const {
  const isolate::Finding& finding = group.first;
  const bool named =
      !finding.hypothesis.empty() && finding.hypothesis != "unexplained" && finding.hypothesis != "ambiguous";
  if (named) {
    return say(Phrase::next_mend, place(group),
               language == Language::english ? finding.title_en : finding.title_es);
  }
  return say(advice_for(finding.stage), place(group));
}

std::vector<std::string> Writer::next_steps() const {
  if (!verdict.aligned) return {say(Phrase::next_align)};
  std::vector<std::string> steps;
  const auto inert = std::find_if(verdict.flags.begin(), verdict.flags.end(),
                                  [](const isolate::Flag& flag) { return flag.flag == "INERT_FACTOR"; });
  if (!facts.findings.empty()) {
    steps.push_back(next_for(facts.findings.front()));
    if (facts.findings.front().first.phase == "unknown") steps.push_back(say(Phrase::next_phase_unknown));
    steps.push_back(say(Phrase::next_again));
  }
  if (inert != verdict.flags.end()) steps.push_back(say(Phrase::next_inert, inert->cell));
  switch (verdict.status) {
    case Status::equal:
    case Status::rounding: steps.push_back(say(Phrase::next_clean)); break;
    case Status::vacuous: steps.push_back(say(Phrase::next_vacuous)); break;
    case Status::ambiguous: steps.push_back(say(Phrase::next_ambiguous)); break;
    case Status::inconclusive:
    case Status::missing: steps.push_back(say(Phrase::next_missing)); break;
    default: break;
  }
  return steps;
}

}  // namespace greta::report
