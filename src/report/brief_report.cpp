#include <fmt/format.h>

#include "report/artifacts.h"
#include "report/layout.h"
#include "report/writer.h"

namespace greta::report {
namespace {

constexpr size_t kMaxListed = 8;  // findings, flags

Tone tone_of(RunStatus status) {
  return status == RunStatus::fault ? Tone::bad : is_clean(status) ? Tone::good : Tone::unsure;
}

/// "MFMA", or "M/V/V" when q, k, v differ.
std::string short_routes(const Cell& cell) {
  const std::string routes = routes_used(cell);
  if (routes.find('/') == std::string::npos) return routes;
  const auto initial = [](const std::string& route) {
    return route == "matrix" ? 'M' : (route == "vector" ? 'V' : '-');
  };
  return fmt::format("{}/{}/{}", initial(cell.q.route), initial(cell.k.route), initial(cell.v.route));
}

// 3+1+10+1+11+1+11+1+11+1+5+1+5+1+4+1+12 = 80
Table narrow_table(const Verdict& verdict) {
  Table table{{{"exp", Align::left, 3},
               {"prompt", Align::left, 10},
               {"Q MAE", Align::right, 11},
               {"K MAE", Align::right, 11},
               {"V MAE", Align::right, 11},
               {"route", Align::left, 5},
               {"force", Align::left, 5},
               {"gemm", Align::left, 4},
               {"verdict", Align::left, 12}},
              {}};
  for (const Cell& cell : verdict.cells) {
    table.rows.push_back({cell.key.experiment,
                          cell.key.prompt,
                          mae_text(cell, cell.q.mae),
                          mae_text(cell, cell.k.mae),
                          mae_text(cell, cell.v.mae),
                          short_routes(cell),
                          route_forced(cell),
                          cell.force_gemm ? "yes" : "no",
                          {std::string(name(cell.verdict)), tone_of(cell.verdict)}});
  }
  return table;
}

std::string more(const Writer& writer, size_t count) {
  return count > kMaxListed ? writer.say(Phrase::more, count - kMaxListed) : "";
}

List flags(const Writer& writer) {
  const std::vector<Flag>& all = writer.verdict.flags;
  List list{{}, false, more(writer, all.size())};
  for (size_t i = 0; i < all.size() && i < kMaxListed; ++i) {
    list.items.push_back({writer.say(Phrase::flagged, name(all[i].kind), name(all[i].cell), all[i].why)});
  }
  return list;
}

List findings(const Writer& writer) {
  const std::vector<FindingGroup>& all = writer.facts.findings;
  List list{{}, true, more(writer, all.size())};
  for (size_t i = 0; i < all.size() && i < kMaxListed; ++i)
    list.items.push_back({writer.place(all[i]), writer.finding_brief(all[i])});
  return list;
}

/// "cpu (avx2), 2 threads": what is known of it.
std::string machine(const Verdict& verdict) {
  std::string text = verdict.device.empty() ? std::string("an unnamed device") : verdict.device;
  if (!verdict.isa.empty()) text += fmt::format(" ({})", verdict.isa);
  if (verdict.threads > 0) text += fmt::format(", {} threads", verdict.threads);
  return text;
}

}  // namespace

Document brief_report(const Report& report) {
  const Writer writer(report, Language::english);
  const Verdict& verdict = report.verdict;
  Document document;
  const auto say = [&document](std::string sentence) { document.push_back(Paragraph{std::move(sentence)}); };
  const std::string& model = verdict.model_name.empty() ? verdict.model_file : verdict.model_name;
  say(fmt::format("{} on {}, {:.1f} s", model.empty() ? verdict.engine : model, machine(verdict),
                  verdict.seconds));
  for (const std::string& sentence : writer.not_exercised()) say(sentence);
  if (!verdict.injected.empty()) say(writer.say(Phrase::injected, join(verdict.injected)));
  if (report.facts.any_pair) {
    document.push_back(Heading{2, writer.table_heading()});
    document.push_back(narrow_table(verdict));
  }
  document.push_back(
      Paragraph{writer.headline(), std::string(name(verdict.status)), tone_of(verdict.status)});
  document.push_back(flags(writer));
  for (const std::string& sentence : writer.untested()) say(sentence);
  if (report.facts.any_pair) say(writer.attestation());
  const bool only_ops = !verdict.ops.empty() && verdict.coverage.recorded == 0;
  if (verdict.aligned && !only_ops) say(writer.logits());
  document.push_back(findings(writer));
  for (const std::string& sentence : writer.ops()) say(sentence);
  for (const std::string& sentence : writer.factors()) say(sentence);
  if (!only_ops) {
    for (const std::string& sentence : writer.coverage()) say(sentence);
  }
  for (const std::string& sentence : writer.exercised()) say(sentence);
  for (const std::string& sentence : writer.arithmetic()) say(sentence);
  if (const std::vector<std::string> steps = writer.next_steps(); !steps.empty())
    say(fmt::format("{}: {}", writer.say(Phrase::next_step), steps.front()));
  if (!verdict.directory.empty()) {
    document.push_back(Heading{2, verdict.directory});
    std::string files;
    for (const Artifact& artifact : kArtifacts) files += std::string(artifact.name) + " ";
    document.push_back(Preformatted{files + kArchive});
  }
  return document;
}

std::string terminal(const Report& report, bool colour) {
  return to_terminal(brief_report(report), kColumns, colour);
}

}  // namespace greta::report
