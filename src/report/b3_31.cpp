#include <fmt/format.h>

#include "report/b3_32.h"
#include "report/printable_verdict.h"
#include "report/report.h"
#include "report/sentences.h"

namespace greta::report {

std::string b3_31_table(const Verdict& verdict) {
  std::string table =
      "| exp | prompt | Q MAE | K MAE | V MAE | Q/K/V route | force_route | force_gemm |\n"
      "|---|---|---:|---:|---:|---|---|---|\n";
  for (const Cell& cell : verdict.cells) {
    table += fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} |\n", table_cell(cell.key.experiment),
                         table_cell(cell.key.prompt), mae_text(cell, cell.q.mae), mae_text(cell, cell.k.mae),
                         mae_text(cell, cell.v.mae), table_cell(routes_used(cell)),
                         table_cell(route_forced(cell)), cell.force_gemm);
  }
  return table;
}

std::string b3_31_analysis(const Verdict& recorded) {
  const Verdict verdict = printable_verdict(recorded);
  const Facts facts = facts_of(verdict);
  const Writer writer{verdict, facts, Language::english};
  const int layer = verdict.layers.empty() ? 0 : verdict.layers.front();
  std::string text = "B3.31 - Decode Q/K/V Projection Route Isolation\n";
  text += fmt::format("Model {}, device {} ({}), {} threads, {}\n", verdict.model_name, verdict.device,
                      verdict.isa, verdict.threads, verdict.date);
  if (!verdict.injected.empty()) text += writer.say(Phrase::injected, join(verdict.injected)) + "\n";
  text += fmt::format("\n{}\n\n{}", writer.say(Phrase::heading_table, layer), b3_31_table(verdict));
  if (has_norm_pairs(verdict)) {
    text += fmt::format("\n{}\n\n{}", writer.say(Phrase::heading_norm, layer),
                        b3_32_table(verdict, Language::english));
  }
  for (const NormAudit& audit : norm_audits(writer)) {
    text += fmt::format("\n{}\n", audit.heading);
    for (const std::string& line : audit.lines) text += fmt::format("- {}\n", line);
  }
  text += fmt::format("\nVerdict: {}\n\nConclusion\n", name(verdict.status));
  const auto add = [&text](const std::vector<std::string>& sentences, std::string_view indent) {
    for (const std::string& sentence : sentences) text += fmt::format("{}- {}\n", indent, sentence);
  };
  add(writer.conclusion(), "");
  for (const FindingGroup& finding : facts.findings) {
    text += fmt::format("- {}:\n", writer.place(finding));
    add(writer.finding(finding), "  ");
  }
  add({writer.attestation()}, "");
  if (verdict.aligned) add({writer.logits()}, "");
  add(writer.coverage(), "");
  text += "\nNext step\n";
  add(writer.next_steps(), "");
  return text;
}

}  // namespace greta::report
