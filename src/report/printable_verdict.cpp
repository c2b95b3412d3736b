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

void clean_key(CellKey& key) { clean(key.experiment, key.prompt); }

void clean_finding(Finding& finding) {
  clean(finding.best, finding.title.en, finding.title.es, finding.runner_up, finding.pattern.en,
        finding.pattern.es);
  for (CellKey& cell : finding.cells) clean_key(cell);
  clean_all(finding.prompts_that_cannot_show);
  for (RuledOut& other : finding.ruled_out) clean(other.hypothesis);
  if (finding.intervention) clean(finding.intervention->prompt);
}

void clean_cell(Cell& cell) {
  clean_key(cell.key);
  for (ProjectionSeen* seen : {&cell.q, &cell.k, &cell.v}) clean(seen->route, seen->kernel);
  clean(cell.attn_norm_hash_prefill, cell.attn_norm_hash_decode, cell.prefill_q_kernel, cell.force_route);
}

}  // namespace

Verdict printable_verdict(Verdict verdict) {
  clean(verdict.engine, verdict.engine_version, verdict.model_name, verdict.model_file, verdict.model_hash,
        verdict.device, verdict.isa, verdict.kv_format, verdict.command_line, verdict.date,
        verdict.directory);
  clean_all(verdict.injected);
  clean_all(verdict.coverage.skipped);
  for (Cell& cell : verdict.cells) clean_cell(cell);
  for (StagePair& pair : verdict.pairs) {
    clean_key(pair.cell);
    clean(pair.phase, pair.hash_prefill, pair.hash_decode, pair.why);
  }
  for (Finding& finding : verdict.findings) clean_finding(finding);
  for (Flag& flag : verdict.flags) {
    clean_key(flag.cell);
    clean(flag.why);
  }
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
