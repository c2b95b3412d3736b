#pragma once
// B3.32, the step after B3.31:
// is the projections' input the same in both phases, and if a norm is at fault, what of it?

#include <string>
#include <vector>

#include "report/sentences.h"

namespace greta::report {

/// Whether any cell recorded attn_norm of the first traced layer in both phases.
bool has_norm_pairs(const Verdict& verdict);

/// Markdown: MAE and hashes (first 8 digits) of attn_norm in prefill_last and decode0, per cell.
std::string b3_32_table(const Verdict& verdict, Language language);

struct NormAudit {
  std::string heading;
  std::vector<std::string> lines;  // the norm hypotheses tried, best first
};

/// One for each finding at a norm.
std::vector<NormAudit> norm_audits(const Writer& writer);

}  // namespace greta::report
