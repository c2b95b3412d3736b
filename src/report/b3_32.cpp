#include "report/b3_32.h"

#include <algorithm>

#include "report/printable_verdict.h"

namespace greta::report {
namespace {

bool has_norms(const Cell& cell) {
  return !cell.attn_norm_hash_prefill.empty() && !cell.attn_norm_hash_decode.empty();
}

/// Without the algorithm's name ("xxh3-128:").
std::string short_hash(const std::string& hash) {
  return hash.empty() ? "-" : hash.substr(hash.find(':') + 1).substr(0, 8);
}

}  // namespace

bool has_norm_pairs(const Verdict& verdict) {
  return std::any_of(verdict.cells.begin(), verdict.cells.end(), has_norms);
}

std::string b3_32_table(const Verdict& verdict, Language language) {
  std::string table = fmt::format("| {} |\n|---|---|---:|---|---|---|\n", say(language, Phrase::head_norm));
  for (const Cell& cell : verdict.cells) {
    const bool equal = cell.attn_norm_hash_prefill == cell.attn_norm_hash_decode;
    table +=
        fmt::format("| {} | {} | {} | {} | {} | {} |\n", table_cell(cell.key.experiment),
                    table_cell(cell.key.prompt), has_norms(cell) ? mae_text(cell, cell.attn_norm_mae) : "-",
                    table_cell(short_hash(cell.attn_norm_hash_prefill)),
                    table_cell(short_hash(cell.attn_norm_hash_decode)),
                    has_norms(cell) ? say(language, equal ? Phrase::yes : Phrase::no) : "-");
  }
  return table;
}

std::vector<NormAudit> norm_audits(const Writer& writer) {
  std::vector<NormAudit> audits;
  for (const FindingGroup& group : writer.facts.findings) {
    const Finding& finding = group.first;
    if (!is_norm(finding.stage)) continue;
    NormAudit audit{writer.say(Phrase::heading_audit, writer.place(group)), {}};
    const auto add = [&](Phrase which, const std::string& hypothesis, double explained) {
      audit.lines.push_back(writer.say(which, hypothesis, residual(explained)));
    };
    if (!finding.best.empty()) {
      const Phrase which = finding.cause == Cause::named ? Phrase::audit_winner : Phrase::audit_line;
      add(which, finding.best, finding.explained_residual);
    }
    for (const RuledOut& other : finding.ruled_out) {
      if (other.hypothesis.starts_with("norm_"))
        add(Phrase::audit_line, other.hypothesis, other.explained_residual);
    }
    audits.push_back(std::move(audit));
  }
  return audits;
}

}  // namespace greta::report
