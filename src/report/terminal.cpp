#include <fmt/format.h>

#include "report/printable_verdict.h"
#include "report/report.h"
#include "report/sentences.h"

namespace greta::report {
namespace {

constexpr size_t kColumns = 80;
constexpr size_t kMaxFindings = 8;

/// Code points, which is what a terminal shows in a column each (wide scripts apart).
size_t width(std::string_view text) {
  size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  return count;
}

/// `text` in exactly `columns`: padded, or cut with a "~".
std::string fit(std::string text, size_t columns) {
  if (width(text) <= columns) return text + std::string(columns - width(text), ' ');
  while (width(text) >= columns) {
    while (text.size() > 1 && (static_cast<unsigned char>(text.back()) & 0xc0) == 0x80) text.pop_back();
    text.pop_back();
  }
  return text + "~";
}

/// Words filled into lines of at most kColumns; lines after the first are indented by `hang`. Only a word
/// that is longer than a line makes a longer one (a path must stay whole).
std::string wrap(std::string_view indent, std::string_view text, size_t hang) {
  std::string result, line(indent);
  bool empty = true;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    if (!empty && width(line) + 1 + width(word) > kColumns) {
      result += line + "\n";
      line.assign(hang, ' ');
      empty = true;
    }
    if (!empty) line += ' ';
    line += word;
    empty = false;
  }
  return result + line + "\n";
}

class Terminal {
 public:
  Terminal(const Writer& writer, bool colour) : writer_(writer), verdict_(writer.verdict), colour_(colour) {}

  std::string text() {
    header();
    table();
    verdict();
    findings();
    for (const std::string& sentence : writer_.coverage()) text_ += wrap("", sentence, 2);
    next();
    files();
    return std::move(text_);
  }

 private:
  std::string paint(const std::string& text, RunStatus status) const {
    if (!colour_) return text;
    const char* code = status == RunStatus::fault ? "1;31" : is_clean(status) ? "32" : "33";
    return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
  }

  void header() {
    const std::string model = verdict_.model_name.empty() ? verdict_.model_file : verdict_.model_name;
    text_ += wrap("",
                  fmt::format("{} on {} ({}), {} threads, {:.1f} s", model, verdict_.device, verdict_.isa,
                              verdict_.threads, verdict_.seconds),
                  2);
    if (!verdict_.injected.empty())
      text_ += wrap("", writer_.say(Phrase::injected, join(verdict_.injected)), 2);
    const int layer = verdict_.layers.empty() ? 0 : verdict_.layers.front();
    text_ += fmt::format("\n{}\n", writer_.say(Phrase::heading_table, layer));
  }

  // 3+1+10+1+11+1+11+1+11+1+5+1+5+1+4+1+12 = 80
  void table() {
    text_ += "exp prompt           Q MAE       K MAE       V MAE route force gemm verdict\n";
    for (const Cell& cell : verdict_.cells) {
      text_ += fmt::format("{} {} {:>11} {:>11} {:>11} {} {} {} {}\n", fit(cell.key.experiment, 3),
                           fit(cell.key.prompt, 10), mae_text(cell, cell.q.mae), mae_text(cell, cell.k.mae),
                           mae_text(cell, cell.v.mae), fit(short_routes(cell), 5), fit(route_forced(cell), 5),
                           cell.force_gemm ? "yes " : "no  ",
                           paint(std::string(name(cell.verdict)), cell.verdict));
    }
  }

  /// "MFMA", or "M/V/V" when q, k, v differ.
  static std::string short_routes(const Cell& cell) {
    const std::string routes = routes_used(cell);
    if (routes.find('/') == std::string::npos) return routes;
    const auto initial = [](const std::string& route) {
      return route == "matrix" ? 'M' : (route == "vector" ? 'V' : '-');
    };
    return fmt::format("{}/{}/{}", initial(cell.q.route), initial(cell.k.route), initial(cell.v.route));
  }

  void verdict() {
    const std::string word(name(verdict_.status));
    const std::string sentence =
        verdict_.aligned ? writer_.verdict_sentence() : writer_.say(Phrase::not_aligned);
    std::string lines = wrap("", word + ": " + sentence, 2);
    lines.replace(0, word.size(), paint(word, verdict_.status));
    text_ += fmt::format("\n{}", lines);
    for (size_t i = 0; i < verdict_.flags.size() && i < kMaxFindings; ++i) {
      const Flag& flag = verdict_.flags[i];
      text_ += wrap("  ", writer_.say(Phrase::flagged, name(flag.kind), name(flag.cell), flag.why), 4);
    }
    more(verdict_.flags.size());
    text_ += wrap("", writer_.attestation(), 2);
    if (verdict_.aligned) text_ += wrap("", writer_.logits(), 2);
  }

  void findings() {
    const std::vector<FindingGroup>& groups = writer_.facts.findings;
    for (size_t i = 0; i < groups.size() && i < kMaxFindings; ++i) {
      text_ += wrap("", fmt::format("{}. {}", i + 1, writer_.place(groups[i])), 3);
      for (const std::string& sentence : writer_.finding_brief(groups[i])) text_ += wrap("   ", sentence, 5);
    }
    more(groups.size());
  }

  void more(size_t count) {
    if (count > kMaxFindings)
      text_ += fmt::format("   {}\n", writer_.say(Phrase::more, count - kMaxFindings));
  }

  void next() {
    const std::vector<std::string> steps = writer_.next_steps();
    if (steps.empty()) return;
    text_ += wrap("", fmt::format("{}: {}", writer_.say(Phrase::next_step), steps.front()), 2);
  }

  void files() {
    if (verdict_.directory.empty()) return;
    text_ += fmt::format("\n{}\n  report.en.md report.es.md b3_31_analysis.txt verdict.json artifacts.tgz\n",
                         verdict_.directory);
  }

  const Writer& writer_;
  const Verdict& verdict_;
  bool colour_;
  std::string text_;
};

}  // namespace

std::string terminal(const Verdict& verdict, bool colour) {
  const Verdict shown = printable_verdict(verdict);
  const Facts facts = facts_of(shown);
  return Terminal(Writer{shown, facts, Language::english}, colour).text();
}

}  // namespace greta::report
