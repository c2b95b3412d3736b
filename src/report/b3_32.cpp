#include "report/b3_32.h"

#include <algorithm>
#include <array>

namespace greta::report {
namespace {

/// Of b3_31_table(), whose own heads are B3.31's.
constexpr std::array kSpanishHeads{"exp",      "prompt",        "MAE de Q",     "MAE de K",
                                   "MAE de V", "ruta de Q/K/V", "ruta forzada", "GEMM forzado"};

bool has_norms(const Cell& cell) {
  return !cell.attn_norm_hash_prefill.empty() && !cell.attn_norm_hash_decode.empty();
}

/// Without the algorithm's name ("xxh3-128:").
std::string short_hash(const std::string& hash) {
  return hash.empty() ? "-" : hash.substr(hash.find(':') + 1).substr(0, 8);
}

bool has_norm_pairs(const Verdict& verdict) {
  return std::any_of(verdict.cells.begin(), verdict.cells.end(), has_norms);
}

Table norm_table(const Writer& writer) {
  Table table{{{writer.say(Phrase::column_experiment)},
               {writer.say(Phrase::column_prompt)},
               {writer.say(Phrase::column_norm_mae), Align::right},
               {writer.say(Phrase::column_hash, kPrefillLast)},
               {writer.say(Phrase::column_hash, kDecode0)},
               {writer.say(Phrase::column_equal)}},
              {}};
  for (const Cell& cell : writer.verdict.cells) {
    const bool equal = cell.attn_norm_hash_prefill == cell.attn_norm_hash_decode;
    table.rows.push_back({cell.key.experiment, cell.key.prompt,
                          has_norms(cell) ? mae_text(cell, cell.attn_norm_mae) : "-",
                          short_hash(cell.attn_norm_hash_prefill), short_hash(cell.attn_norm_hash_decode),
                          has_norms(cell) ? writer.yes_no(equal) : "-"});
  }
  return table;
}

List audit(const Writer& writer, const Finding& finding) {
  List list;
  const auto add = [&](Phrase which, const std::string& hypothesis, double explained) {
    list.items.push_back({writer.say(which, hypothesis, residual(explained))});
  };
  if (!finding.best.empty()) {
    const Phrase which = finding.cause == Cause::named ? Phrase::audit_winner : Phrase::audit_line;
    add(which, finding.best, finding.explained_residual);
  }
  for (const RuledOut& other : finding.ruled_out) {
    if (other.hypothesis.starts_with("norm_"))
      add(Phrase::audit_line, other.hypothesis, other.explained_residual);
  }
  return list;
}

}  // namespace

void add_first_layer(const Writer& writer, Document& document) {
  const Verdict& verdict = writer.verdict;
  if (writer.has_routes()) {
    document.push_back(Heading{3, writer.table_heading()});
    Table table = b3_31_table(verdict);
    if (writer.language == Language::spanish) {
      for (size_t i = 0; i < table.columns.size(); ++i) table.columns[i].head = kSpanishHeads[i];
    }
    document.push_back(std::move(table));
  }
  if (has_norm_pairs(verdict)) {
    const int layer = verdict.layers.empty() ? 0 : verdict.layers.front();
    document.push_back(Heading{3, writer.say(Phrase::heading_norm, layer)});
    document.push_back(norm_table(writer));
  }
  for (const FindingGroup& group : writer.facts.findings) {
    if (!is_norm(group.first.stage)) continue;
    document.push_back(Heading{3, writer.say(Phrase::heading_audit, writer.place(group))});
    document.push_back(audit(writer, group.first));
  }
}

}  // namespace greta::report
