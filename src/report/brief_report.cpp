#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <map>

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

/// What the first stage that differs is called; of an unpaired cell nothing.
std::string first_of(const Cell& cell) {
  if (!cell.has_first_difference) return "-";
  return cell.first_layer == kNoLayer ? std::string(name(cell.first_stage))
                                      : fmt::format("L{} {}", cell.first_layer, name(cell.first_stage));
}

std::string short_mae(const Cell& cell, double mae) { return cell.paired ? fmt::format("{:.1e}", mae) : "-"; }

/// An experiment's rows, but for its name.
std::vector<std::vector<TableCell>> rows_of(const Verdict& verdict, const std::string& experiment) {
  std::vector<std::vector<TableCell>> rows;
  for (const Cell& cell : verdict.cells) {
    if (cell.key.experiment != experiment) continue;
    rows.push_back({cell.key.prompt,
                    short_mae(cell, cell.q.mae),
                    short_mae(cell, cell.k.mae),
                    short_mae(cell, cell.v.mae),
                    short_routes(cell),
                    brief(cell.max_noise_ratio),
                    first_of(cell),
                    {std::string(name(cell.verdict)), tone_of(cell.verdict)}});
  }
  return rows;
}

bool same_texts(const std::vector<std::vector<TableCell>>& a, const std::vector<std::vector<TableCell>>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return std::equal(x.begin(), x.end(), y.begin(), y.end(),
                      [](const TableCell& one, const TableCell& other) { return one.text == other.text; });
  });
}

/// A row per experiment and prompt; an experiment that is as an earlier one in all columns is a note.
// 3+1+10+1+7+1+7+1+7+1+5+1+8+1+12+1+12 = 79
Table narrow_table(const Report& report) {
  Table table{{{"exp", Align::left, 3},
               {"prompt", Align::left, 10},
               {"Q MAE", Align::right, 7},
               {"K MAE", Align::right, 7},
               {"V MAE", Align::right, 7},
               {"route", Align::left, 5},
               {"noise", Align::right, 8},
               {"first diff", Align::left, 12},
               {"verdict", Align::left, 12}},
              {}};
  std::map<std::string, std::vector<std::vector<TableCell>>> shown;
  std::vector<std::string> notes;
  for (const std::string& experiment : report.facts.experiments) {
    auto rows = rows_of(report.verdict, experiment);
    const auto same = std::find_if(shown.begin(), shown.end(),
                                   [&](const auto& earlier) { return same_texts(earlier.second, rows); });
    if (same != shown.end()) {
      notes.push_back(fmt::format("{}: as {} in all columns", experiment, same->first));
      continue;
    }
    for (const std::vector<TableCell>& row : rows) {
      std::vector<TableCell> whole = {experiment};
      whole.insert(whole.end(), row.begin(), row.end());
      table.rows.push_back(std::move(whole));
    }
    shown.emplace(experiment, std::move(rows));
  }
  if (!notes.empty()) table.notes[table.rows.size() - 1] = notes;
  table.note_indent = 0;
  return table;
}

// 32+1+9+1+12+1+12 = 68
Table prompts_table(const Report& report) {
  Table table{{{"prompt", Align::left, 32},
               {"noise", Align::right, 9},
               {"first diff", Align::left, 12},
               {"verdict", Align::left, 12}},
              {}};
  for (const Cell& cell : report.verdict.cells) {
    table.rows.push_back({cell.key.prompt,
                          brief(cell.max_noise_ratio),
                          first_of(cell),
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
    list.items.push_back({writer.flagged(all[i])});
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
  std::string text = verdict.engine.empty() || verdict.engine == "greta" ? "" : verdict.engine + ", ";
  text += verdict.device.empty() ? std::string("an unnamed device") : verdict.device;
  if (!verdict.isa.empty()) text += fmt::format(" ({})", verdict.isa);
  if (verdict.threads > 0) text += fmt::format(", {} threads", verdict.threads);
  return text;
}

/// The names of what was written, but for the page and what no one reads.
std::string files_told(const std::string& directory) {
  std::vector<std::string> files;
  for (const Artifact& artifact : kArtifacts) {
    const std::string_view file = artifact.name;
    if (file != "report.html" && file != kStoredVerdict) files.emplace_back(file);
  }
  std::error_code none;
  if (std::filesystem::exists(std::filesystem::path(directory) / kArchive, none))
    files.emplace_back(kArchive);
  return fmt::format("{}", fmt::join(files, " "));
}

}  // namespace

Document brief_report(const Report& report) {
  const Writer writer(report, Language::english);
  const Verdict& verdict = report.verdict;
  Document document;
  const auto say = [&document](std::string sentence) { document.push_back(Paragraph{std::move(sentence)}); };
  const std::string& model = verdict.model_name.empty() ? verdict.model_file : verdict.model_name;
  say(fmt::format("{} on {}, {:.1f} s", model.empty() ? "ops" : model, machine(verdict), verdict.seconds));
  const bool found = !report.facts.findings.empty();
  const auto say_not_exercised = [&] {
    for (const std::string& sentence : writer.not_exercised()) say(sentence);
  };
  if (!found) say_not_exercised();  // what is clean is so as far as one looked
  if (!verdict.injected.empty()) say(writer.say(Phrase::injected, join(verdict.injected)));
  document.push_back(
      Paragraph{writer.headline(), std::string(name(verdict.status)), tone_of(verdict.status)});
  document.push_back(findings(writer));
  document.push_back(flags(writer));
  for (const std::string& sentence : writer.ops()) say(sentence);
  for (const std::string& sentence : writer.factors()) say(sentence);
  if (report.facts.any_pair) {
    const bool routes = writer.has_routes();
    document.push_back(Heading{2, routes ? writer.table_heading() : writer.say(Phrase::heading_prompts)});
    document.push_back(routes ? narrow_table(report) : prompts_table(report));
    if (!writer.attestation().empty()) say(writer.attestation());
  }
  for (const std::string& sentence : writer.untested()) say(sentence);
  const bool only_ops = !verdict.ops.empty() && verdict.coverage.recorded == 0;
  if (verdict.aligned && !only_ops) say(writer.logits());
  if (!only_ops) {
    for (const std::string& sentence : writer.coverage()) say(sentence);
  }
  for (const std::string& sentence : writer.exercised()) say(sentence);
  for (const std::string& sentence : writer.arithmetic()) say(sentence);
  if (found) say_not_exercised();
  if (const std::vector<std::string> steps = writer.next_steps(); !steps.empty())
    say(fmt::format("{}: {}", writer.say(Phrase::next_step), steps.front()));
  if (!verdict.directory.empty()) {
    document.push_back(Heading{2, verdict.directory});
    document.push_back(
        Preformatted{fmt::format("{} in all; open report.html; the rest:\n{}",
                                 size_of_files(verdict.directory), files_told(verdict.directory))});
  }
  return document;
}

std::string terminal(const Report& report, bool colour) {
  return to_terminal(brief_report(report), kColumns, colour);
}

}  // namespace greta::report
