#pragma once
// Everything that reports say, in both languages: one table, so that neither can drift from the other.

#include <fmt/format.h>

#include <string>
#include <string_view>

#include "report/report.h"

namespace greta::report {

enum class Phrase {
  // headings
  title,
  summary,
  method,
  results,
  conclusion,
  next_step,
  heading_table,
  heading_findings,
  heading_cells,
  heading_stages,
  heading_attestation,
  heading_coverage,
  // words
  yes,
  no,
  unknown,
  none,
  // the verdict in one sentence
  verdict_equal,
  verdict_rounding,
  verdict_fault,
  verdict_inert,
  verdict_vacuous,
  verdict_ambiguous,
  verdict_inconclusive,
  // facts
  groups_equal,
  groups_rounding,
  groups_fault,
  groups_other,
  effect_zero,
  effect_none,
  effect_some,
  effect_is_rounding,
  factor_route,
  factor_gemm,
  factor_prompt,
  not_the_route,
  mae_all_zero,
  finding_place,
  finding_places,
  finding_place_no_layer,
  finding_phase_unknown,
  finding_unexplained,
  finding_hypothesis,
  finding_numbers,
  finding_noise_sides,
  finding_cells,
  finding_inputs_equal,
  blind_prompts,
  one_token_prompts,
  same_last_token,
  flagged,
  not_aligned,
  attested_no_cell,
  attested_all,
  attested_not,
  top1_all,
  top1_not,
  top1_unknown,
  shared_fault_unseen,
  injected,
  coverage,
  coverage_alone,
  coverage_skipped,
  more,
  // method
  method_what,
  method_model,
  method_machine,
  method_matrix,
  method_aligned,
  method_judge,
  method_table,
  method_command,
  // next steps
  next_clean,
  next_mend,
  next_projection,
  next_norm,
  next_rope,
  next_cache,
  next_attention,
  next_elementwise,
  next_other,
  next_phase_unknown,
  next_again,
  next_inert,
  next_vacuous,
  next_missing,
  next_ambiguous,
  next_align,
  // table heads
  head_cells,
  head_stages,
  head_attestation,
  count_
};

/// The template, with fmt's numbered fields.
std::string_view phrase(Phrase phrase, Language language);

template <class... Args>
std::string say(Language language, Phrase which, const Args&... args) {
  return fmt::format(fmt::runtime(phrase(which, language)), args...);
}

}  // namespace greta::report
