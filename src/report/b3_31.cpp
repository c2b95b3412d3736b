#include <fmt/format.h>

#include "report/b3_32.h"
#include "report/writer.h"

namespace greta::report {

Table b3_31_table(const Verdict& verdict) {
  Table table{{{"exp"},
               {"prompt"},
               {"Q MAE", Align::right},
               {"K MAE", Align::right},
               {"V MAE", Align::right},
               {"Q/K/V route"},
               {"force_route"},
               {"force_gemm"}},
              {}};
  for (const Cell& cell : verdict.cells) {
    table.rows.push_back({cell.key.experiment, cell.key.prompt, mae_text(cell, cell.q.mae),
                          mae_text(cell, cell.k.mae), mae_text(cell, cell.v.mae), routes_used(cell),
                          route_forced(cell), cell.force_gemm ? "true" : "false"});
  }
  return table;
}

Document b3_31_report(const Report& report) {
  const Writer writer(report, Language::english);
  const Verdict& verdict = report.verdict;
  Document document{Heading{1, "B3.31 - Decode Q/K/V Projection Route Isolation"},
                    Paragraph{fmt::format("Model {}, device {}{}, {} threads, {}", verdict.model_name,
                                          verdict.device, verdict.isa.empty() ? "" : " (" + verdict.isa + ")",
                                          verdict.threads, verdict.date)}};
  if (!verdict.injected.empty())
    document.push_back(Paragraph{writer.say(Phrase::injected, join(verdict.injected))});
  add_first_layer(writer, document);
  document.push_back(Heading{2, fmt::format("Verdict: {}", name(verdict.status))});
  document.push_back(Heading{2, writer.say(Phrase::conclusion)});
  List conclusion = plain_list(writer.conclusion());
  for (const FindingGroup& finding : report.facts.findings)
    conclusion.items.push_back({writer.place(finding) + ":", writer.finding(finding)});
  conclusion.items.push_back({writer.attestation()});
  if (verdict.aligned) conclusion.items.push_back({writer.logits()});
  for (const std::string& sentence : writer.coverage()) conclusion.items.push_back({sentence});
  document.push_back(std::move(conclusion));
  document.push_back(Heading{2, writer.say(Phrase::next_step)});
  document.push_back(plain_list(writer.next_steps()));
  return document;
}

std::string b3_31_analysis(const Report& report) { return to_text(b3_31_report(report)); }

}  // namespace greta::report
