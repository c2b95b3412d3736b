#include "report/printable_verdict.h"

#include "base/printable.h"

namespace greta::report {
namespace {

template <class... Texts>
void clean(Texts&... texts) {
  (static_cast<void>(texts = printable(texts)), ...);
}

void clean_all(std::vector<std::string>& texts) {
  for (std::string& text : texts) clean(text);
}

void clean_finding(isolate::Finding& finding) {
  clean(finding.phase, finding.hypothesis, finding.best, finding.title_en, finding.title_es,
        finding.runner_up, finding.pattern_en, finding.pattern_es);
  clean_all(finding.cells);
  clean_all(finding.prompts_that_cannot_show);
  for (isolate::RuledOut& other : finding.ruled_out) clean(other.hypothesis);
  if (finding.intervention) clean(finding.intervention->prompt);
}

void clean_cell(isolate::Cell& cell) {
  clean(cell.experiment, cell.prompt, cell.attn_norm_hash_prefill, cell.attn_norm_hash_decode, cell.q_route,
        cell.k_route, cell.v_route, cell.q_kernel, cell.k_kernel, cell.v_kernel, cell.prefill_q_kernel,
        cell.force_route);
}

}  // namespace

isolate::Verdict printable_verdict(isolate::Verdict verdict) {
  clean(verdict.engine, verdict.engine_version, verdict.model_name, verdict.model_file, verdict.model_hash,
        verdict.device, verdict.isa, verdict.kv_format, verdict.command_line, verdict.date,
        verdict.directory);
  clean_all(verdict.injected);
  clean_all(verdict.coverage.skipped);
  for (isolate::Cell& cell : verdict.cells) clean_cell(cell);
  for (isolate::StagePair& pair : verdict.pairs)
    clean(pair.cell, pair.hash_prefill, pair.hash_decode, pair.why);
  for (isolate::Finding& finding : verdict.findings) clean_finding(finding);
  for (isolate::Flag& flag : verdict.flags) clean(flag.flag, flag.cell, flag.why);
  return verdict;
}

std::string table_cell(std::string_view text) {
  std::string cell = printable(text);
  for (char& c : cell) {
    if (c == '|' || c == '`') c = ' ';
  }
  return cell;
}

}  // namespace greta::report
