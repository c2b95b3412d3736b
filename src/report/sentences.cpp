#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "report/writer.h"

namespace greta::report {
namespace {

/// What verdict.json says, and what a reader of Spanish does.
constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kSpanishWords{
    {{"EQUAL", "IGUAL"},
     {"ROUNDING", "REDONDEO"},
     {"FAULT", "FALLO"},
     {"PROPAGATED", "PROPAGADO"},
     {"MISSING", "FALTA"},
     {"INCONCLUSIVE", "NO CONCLUYENTE"},
     {"VACUOUS", "VACÍO"},
     {"INERT_FACTOR", "FACTOR INERTE"},
     {"HARNESS_SUSPECT", "GRABACIÓN SOSPECHOSA"},
     {"UNDECLARED_ARITHMETIC", "ARITMÉTICA NO DECLARADA"}}};

constexpr size_t kMaxListed = 8;

Phrase verdict_phrase(RunStatus status) {
  switch (status) {
    case RunStatus::equal: return Phrase::verdict_equal;
    case RunStatus::rounding: return Phrase::verdict_rounding;
    case RunStatus::fault: return Phrase::verdict_fault;
    case RunStatus::inert_factor: return Phrase::verdict_inert;
    case RunStatus::harness_suspect: return Phrase::verdict_harness;
    case RunStatus::undeclared_arithmetic: return Phrase::verdict_undeclared;
    case RunStatus::vacuous: return Phrase::verdict_vacuous;
    case RunStatus::inconclusive: return Phrase::verdict_inconclusive;
  }
  return Phrase::verdict_inconclusive;
}

Phrase advice_for(Stage stage) {
  switch (info(stage).kind) {
    case StageKind::projection:
    case StageKind::expert_projection:
    case StageKind::head_projection: return Phrase::next_projection;
    case StageKind::norm:
    case StageKind::head_norm: return Phrase::next_norm;
    case StageKind::rope: return Phrase::next_rope;
    case StageKind::cache: return Phrase::next_cache;
    case StageKind::scores:
    case StageKind::weights:
    case StageKind::mix: return Phrase::next_attention;
    case StageKind::sum:
    case StageKind::gated:
    case StageKind::probabilities:
    case StageKind::product: return Phrase::next_elementwise;
    case StageKind::join:
    case StageKind::choice:
    case StageKind::choice_weights:
    case StageKind::combination:
    case StageKind::embedding: return Phrase::next_other;
  }
  return Phrase::next_other;
}

/// "E0, E1 x p4_sys, p5_ba" when the cells are all pairs of some experiments and prompts; else "".
std::string as_product(const std::vector<CellKey>& cells) {
  std::vector<std::string> experiments, prompts;
  for (const CellKey& cell : cells) {
    add_unique(experiments, cell.experiment);
    add_unique(prompts, cell.prompt);
  }
  if (experiments.size() * prompts.size() != cells.size()) return "";
  return join(experiments) + " x " + join(prompts);
}

}  // namespace

std::string brief(double value) {
  std::string text;
  for (int digits = 3; digits <= 9; ++digits) {
    text = fmt::format("{:.{}g}", value, digits);
    if (value == 1 || text != "1") break;  // which side of the bound it is on must show
  }
  return text;
}

std::string residual(double value) {
  if (!(value > 0)) return "0";
  return value > 0.99 ? fmt::format("{:.5f}", value) : fmt::format("{:.2f}", value);
}

std::string cell_list(const std::vector<CellKey>& cells, Language language) {
  std::vector<std::string> names;
  for (const CellKey& cell : cells) names.push_back(name(cell));
  if (names.size() <= kMaxListed / 2) return join(names);
  if (const std::string product = as_product(cells); !product.empty()) return product;
  if (names.size() <= kMaxListed) return join(names);
  const size_t more = names.size() - kMaxListed;
  names.resize(kMaxListed);
  return join(names) + " " + say(language, Phrase::more, more);
}

std::string Writer::place(const FindingGroup& finding) const {
  const std::string phase =
      finding.first.phase == Phases::both ? say(Phrase::both_word) : std::string(name(finding.first.phase));
  // Stages of the same layers are told together.
  std::vector<std::pair<std::string, std::vector<std::string>>> parts;
  for (const FindingGroup::Place& at : finding.places) {
    const std::string layers = at.layers.empty() ? "" : layer_ranges(at.layers);
    auto part = std::ranges::find(parts, layers, [](const auto& one) { return one.first; });
    if (part == parts.end()) part = parts.insert(part, {layers, {}});
    part->second.emplace_back(name(at.stage));
  }
  std::vector<std::string> words;
  for (const auto& [layers, stages] : parts) {
    const std::string list =
        say(stages.size() == 1 ? Phrase::place_stage : Phrase::place_stages, join(stages));
    const bool one = layers.find_first_of(",-") == std::string::npos;
    const std::string in = say(one ? Phrase::place_layer : Phrase::place_layers, layers);
    words.push_back(layers.empty()      ? list
                    : parts.size() == 1 ? join({in, list})
                                        : say(Phrase::place_in, list, in));
  }
  words.push_back(say(Phrase::place_phase, phase));
  return join(words);
}

std::string Writer::verdict_sentence() const {
  const Phrase which = verdict_phrase(verdict.status);
  if (which == Phrase::verdict_fault && !facts.findings.empty()) {
    FindingGroup first = facts.findings.front();
    first.places.resize(1);
    if (!first.places[0].layers.empty()) first.places[0].layers.resize(1);
    if (is_of_runs(first.first)) return say(Phrase::verdict_fault_runs, place(first));
    const bool differ = facts.any_pair && first.first.phase != Phases::both && !first.first.difference;
    return say(differ ? which : Phrase::verdict_fault_alone, place(first));
  }
  const bool clean = which == Phrase::verdict_equal || which == Phrase::verdict_rounding;
  const bool apart = facts.max_of_single_roundings > facts.max_of_others && facts.max_of_others > 0;
  const std::string largest = apart ? say(Phrase::and_single_roundings, brief(facts.max_of_others),
                                          brief(facts.max_of_single_roundings))
                                    : brief(facts.max_noise_ratio);
  return say(clean && !facts.any_pair ? Phrase::verdict_alone : which, largest);
}

std::string Writer::headline() const {
  if (is_misaligned()) return say(Phrase::not_aligned);
  const bool of_ops = !verdict.ops.empty() && facts.findings.empty() && verdict.flags.empty();
  return of_ops ? ops_headline() : verdict_sentence();
}

std::string Writer::attestation() const {
  const size_t total = verdict.cells.size();
  const bool forced = std::any_of(verdict.cells.begin(), verdict.cells.end(), [](const Cell& cell) {
    return cell.force_route != "auto" || cell.force_gemm || !cell.attested;
  });
  if (total > 0 && !forced) return "";
  if (total == 0) return say(Phrase::attested_no_cell);
  if (facts.unattested.empty()) return say(Phrase::attested_all, total);
  return say(Phrase::attested_not, total - facts.unattested.size(), total,
             cell_list(facts.unattested, language));
}

bool Writer::has_routes() const {
  return facts.experiments.size() > 1 ||
         std::any_of(verdict.cells.begin(), verdict.cells.end(), [](const Cell& cell) {
           return routes_used(cell) != "-" || cell.force_route != "auto" || cell.force_gemm;
         });
}

std::string Writer::word(std::string_view status) const {
  if (language == Language::english) return std::string(status);
  const auto found = std::find_if(kSpanishWords.begin(), kSpanishWords.end(),
                                  [status](const auto& entry) { return entry.first == status; });
  return std::string(found == kSpanishWords.end() ? status : found->second);
}

std::string Writer::table_heading() const {
  return say(Phrase::heading_table, verdict.layers.empty() ? 0 : verdict.layers.front());
}

std::string Writer::method() const {
  if (!facts.any_pair && !verdict.cells.empty()) return say(Phrase::method_alone);
  return say(Phrase::method_what);
}

std::string Writer::logits() const {
  if (!facts.logits_recorded) return say(Phrase::top1_unknown);
  if (facts.top1_differs.empty()) return say(Phrase::top1_all);
  return say(Phrase::top1_not, cell_list(facts.top1_differs, language));
}

std::vector<std::string> Writer::coverage() const {
  const Coverage& coverage = verdict.coverage;
  std::vector<std::string> sentences{say(Phrase::coverage, fmt::format("{:.1f}", coverage.percent()),
                                         coverage.judged, coverage.recorded, coverage.propagated)};
  if (coverage.alone > 0) {
    sentences.push_back(say(Phrase::coverage_alone, coverage.alone));
    if (coverage.alone < coverage.judged)
      sentences.push_back(say(Phrase::coverage_compared, join(facts.only_compared)));
  }
  for (const auto& [why, pairs] : facts.skipped)
    sentences.push_back(say(Phrase::coverage_skipped, pairs, why));
  return sentences;
}

std::vector<std::string> Writer::not_exercised() const {
  if (!verdict.exercise || verdict.exercise->not_exercised.empty()) return {};
  std::vector<std::string> list;
  for (const Text& what : verdict.exercise->not_exercised) list.push_back(what.in(language));
  return {say(Phrase::not_exercised, fmt::format("{}", fmt::join(list, "; ")))};
}

std::vector<std::string> Writer::exercised() const {
  if (!verdict.exercise) return {};
  const Exercise& exercise = *verdict.exercise;
  std::vector<std::string> sentences;
  if (exercise.held && exercise.prompts > 0) {
    const Phrase what = exercise.first_tokens > 0 ? Phrase::held_first_tokens : Phrase::held_prompts;
    sentences.push_back(say(what, exercise.prompts, exercise.first_tokens));
  }
  if (exercise.held && exercise.own_tokens > 0 && !exercise.blocks.empty()) {
    const auto [least, most] = std::minmax_element(exercise.blocks.begin(), exercise.blocks.end());
    sentences.push_back(say(Phrase::held_own, exercise.own_tokens, exercise.seed, *least, *most,
                            fmt::format("{}", fmt::join(exercise.threads, ", "))));
    sentences.push_back(say(Phrase::judged_own, exercise.judged,
                            fmt::format("{}", fmt::join(exercise.steps, ", ")), join(exercise.caches)));
  }
  if (exercise.trust.tokens > 0) {
    std::vector<std::string> costs;
    for (const TrustedValue& value : exercise.trust.others) {
      if (exercise.trust.confirms(value))
        costs.push_back(fmt::format("{:.2f} ({} {})", value.more, value.what.in(language), value.instead));
    }
    if (!costs.empty())
      sentences.push_back(say(Phrase::trust_loss, exercise.trust.tokens,
                              fmt::format("{:.2f}", exercise.trust.loss), join(costs)));
  }
  if (!exercise.equal.empty()) sentences.push_back(say(Phrase::kernels_equal, join(exercise.equal)));
  if (!exercise.unvouched.empty())
    sentences.push_back(say(Phrase::kernels_unvouched, join(exercise.unvouched)));
  return sentences;
}

std::string Writer::flagged(const Flag& flag) const {
  if (flag.cell == CellKey{}) return say(Phrase::flagged_run, name(flag.kind), flag.why);
  return say(Phrase::flagged, name(flag.kind), name(flag.cell), flag.why);
}

std::vector<std::string> Writer::conclusion() const {
  std::vector<std::string> sentences;
  if (is_misaligned()) sentences.push_back(say(Phrase::not_aligned));
  sentences.push_back(verdict_sentence());
  if (verdict.aligned && facts.any_pair) {
    std::vector<std::string> others;
    for (const auto& [status, experiments] : facts.groups) {
      if (!has_routes()) break;  // nobody made experiments
      const std::string list = join(experiments);
      if (status == RunStatus::equal) {
        sentences.push_back(say(Phrase::groups_equal, list));
      } else if (status == RunStatus::rounding) {
        sentences.push_back(say(Phrase::groups_rounding, list));
      } else if (status == RunStatus::fault) {
        sentences.push_back(say(Phrase::groups_fault, list));
      } else {
        others.insert(others.end(), experiments.begin(), experiments.end());
      }
    }
    if (!others.empty()) sentences.push_back(say(Phrase::groups_other, join(others)));
    for (std::string& sentence : factor_effects()) sentences.push_back(std::move(sentence));
  }
  for (size_t i = 0; i < verdict.flags.size() && i < kMaxListed; ++i) {
    sentences.push_back(flagged(verdict.flags[i]));
  }
  if (verdict.flags.size() > kMaxListed)
    sentences.push_back(say(Phrase::more, verdict.flags.size() - kMaxListed));
  if (verdict.findings.empty() && !facts.one_token_prompts.empty() && verdict.aligned && facts.any_pair) {
    sentences.push_back(say(Phrase::one_token_prompts, join(facts.one_token_prompts)));
  }
  for (const std::vector<std::string>& prompts : facts.same_last_token) {
    if (verdict.aligned && !facts.mae_all_zero) {
      sentences.push_back(say(Phrase::same_last_token, join(prompts)));
    }
  }
  if (is_clean(verdict.status) && verdict.coverage.alone < verdict.coverage.judged) {
    sentences.push_back(say(Phrase::shared_fault_unseen));
  }
  return sentences;
}

std::vector<std::string> Writer::next_for(const FindingGroup& group) const {
  const Finding& finding = group.first;
  if (finding.cause == Cause::ambiguous)
    return {say(advice_for(finding.stage), place(group)), say(Phrase::next_ambiguous)};
  if (finding.cause != Cause::named) return {say(advice_for(finding.stage), place(group))};
  std::vector<std::string> steps{say(Phrase::next_mend, place(group), title(finding))};
  if (std::string where = look(finding); !where.empty()) steps.push_back(std::move(where));
  return steps;
}

std::vector<std::string> Writer::untested() const {
  if (verdict.untested_writes.empty()) return {};
  std::vector<CellKey> cells;
  for (const UntestedWrite& write : verdict.untested_writes) cells.push_back(write.cell);
  const UntestedWrite& most = *std::ranges::max_element(verdict.untested_writes, {}, &UntestedWrite::layers);
  return {say(Phrase::untested_write, cell_list(cells, language), most.layers, most.recorded)};
}

std::vector<std::string> Writer::arithmetic() const {
  const auto listed = [&](const std::vector<Stage>& stages, const std::string& weight_type) {
    std::vector<std::string> names;
    for (const Stage stage : stages) names.emplace_back(name(stage));
    return weight_type.empty() ? join(names) : join(names) + " (" + weight_type + ")";
  };
  std::vector<std::string> inferred, sentences;
  for (const KernelArithmetic& kernels : verdict.arithmetic) {
    if (kernels.source != KernelArithmetic::Source::inferred) continue;
    inferred.push_back(say(Phrase::arithmetic_of, listed(kernels.stages, kernels.weight_type),
                           name(kernels.phase), kernels.what));
  }
  if (!inferred.empty())
    sentences.push_back(say(Phrase::arithmetic_inferred, fmt::format("{}", fmt::join(inferred, "; "))));
  for (const RouteDifference& difference : verdict.route_differences) {
    sentences.push_back(say(Phrase::route_difference, listed(difference.stages, difference.weight_type),
                            difference.prefill, difference.decode, fmt::format("{:.1e}", difference.mae)));
  }
  return sentences;
}

/// "S > 1, stage q; S > 1, stage k".
std::string Writer::wrong_values(const Factor& factor) const {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> kSpanish{
      {{"stage", "etapa"}, {"phase", "fase"}, {"layer", "capa"}}};
  const auto word_of = [&](const std::string& attribute) {
    const auto found = std::find_if(kSpanish.begin(), kSpanish.end(),
                                    [&](const auto& entry) { return entry.first == attribute; });
    const bool translated = language == Language::spanish && found != kSpanish.end();
    return translated ? std::string(found->second) : attribute;
  };
  std::vector<std::string> all;
  for (const std::vector<std::string>& values : factor.wrong_values) {
    std::vector<std::string> words;
    for (size_t i = 0; i < values.size(); ++i)
      words.push_back(
          fmt::format("{} {}", word_of(factor.attributes[i]), values[i].empty() ? "-" : values[i]));
    all.push_back(fmt::format("{}", fmt::join(words, ", ")));
  }
  return fmt::format("{}", fmt::join(all, "; "));
}

std::vector<std::string> Writer::factors() const {
  std::vector<std::string> sentences;
  for (const Factor& factor : verdict.factors) {
    const bool told =
        std::ranges::any_of(verdict.findings, [&](const Finding& f) { return f.scope == factor; });
    if (!told) sentences.push_back(scope(factor));
  }
  return sentences;
}

std::string Writer::scope(const Factor& factor) const {
  std::vector<std::string> stages;
  for (const Stage stage : factor.stages) stages.emplace_back(name(stage));
  return say(Phrase::factor_tells, join(stages), factor.wrong, wrong_values(factor), factor.right);
}

std::vector<std::string> Writer::next_steps() const {
  if (is_misaligned()) return {say(Phrase::next_align)};
  std::vector<std::string> steps;
  const auto inert = std::find_if(verdict.flags.begin(), verdict.flags.end(),
                                  [](const Flag& flag) { return flag.kind == FlagKind::inert_factor; });
  if (!facts.findings.empty()) {
    steps = next_for(facts.findings.front());
    steps.push_back(say(Phrase::next_again));
  }
  if (inert != verdict.flags.end()) steps.push_back(say(Phrase::next_inert, name(inert->cell)));
  switch (verdict.status) {
    case RunStatus::equal:
    case RunStatus::rounding:
      steps.push_back(say(facts.any_pair ? Phrase::next_clean : Phrase::next_clean_alone));
      break;
    case RunStatus::harness_suspect: steps.push_back(say(Phrase::next_harness)); break;
    case RunStatus::undeclared_arithmetic: steps.push_back(say(Phrase::next_undeclared)); break;
    case RunStatus::vacuous: steps.push_back(say(Phrase::next_vacuous)); break;
    case RunStatus::inconclusive: steps.push_back(say(Phrase::next_missing)); break;
    case RunStatus::fault:
    case RunStatus::inert_factor: break;
  }
  return steps;
}

}  // namespace greta::report
