#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "report/b3_32.h"
#include "report/noise_map.h"
#include "report/printable_verdict.h"
#include "report/report.h"
#include "report/sentences.h"

namespace greta::report {
namespace {

class Markdown {
 public:
  explicit Markdown(const Writer& writer) : writer_(writer), verdict_(writer.verdict), facts_(writer.facts) {}

  std::string text() {
    heading(1,
            writer_.say(Phrase::title, verdict_.model_name.empty() ? verdict_.engine : verdict_.model_name));
    summary();
    method();
    results();
    heading(2, writer_.say(Phrase::conclusion));
    list(writer_.conclusion());
    heading(2, writer_.say(Phrase::next_step));
    list(writer_.next_steps());
    return std::move(text_);
  }

 private:
  void heading(int level, const std::string& title) {
    if (!text_.empty() && !text_.ends_with("\n\n")) text_ += '\n';
    text_ += fmt::format("{} {}\n\n", std::string(static_cast<size_t>(level), '#'), title);
  }

  void list(const std::vector<std::string>& sentences) {
    for (const std::string& sentence : sentences) text_ += fmt::format("- {}\n", sentence);
  }

  void table_head(Phrase head) {
    const std::string columns = writer_.say(head);
    text_ += fmt::format("| {} |\n|", columns);
    for (auto i = std::count(columns.begin(), columns.end(), '|'); i >= 0; --i) text_ += "---|";
    text_ += "\n";
  }

  void row(std::initializer_list<std::string> cells) {
    text_ += "|";
    for (const std::string& cell : cells) text_ += fmt::format(" {} |", table_cell(cell));
    text_ += "\n";
  }

  void summary() {
    heading(2, writer_.say(Phrase::summary));
    text_ += fmt::format("**{}** - {}\n\n", name(verdict_.status),
                         verdict_.aligned ? writer_.verdict_sentence() : writer_.say(Phrase::not_aligned));
    if (!verdict_.injected.empty()) list({writer_.say(Phrase::injected, join(verdict_.injected))});
    list({writer_.attestation()});
    if (verdict_.aligned) list({writer_.logits()});
    list({writer_.coverage().front()});
  }

  void method() {
    heading(2, writer_.say(Phrase::method));
    std::vector<std::string> lines{writer_.method()};
    if (!verdict_.aligned) lines.push_back(writer_.say(Phrase::not_aligned));
    if (verdict_.aligned && facts_.any_pair) lines.push_back(writer_.say(Phrase::method_aligned));
    lines.push_back(writer_.say(Phrase::method_judge));
    lines.push_back(writer_.say(Phrase::method_table));
    lines.push_back(writer_.say(Phrase::method_matrix, join(facts_.experiments), join(facts_.prompts),
                                layer_ranges(verdict_.layers)));
    lines.push_back(
        writer_.say(Phrase::method_model, verdict_.model_name, verdict_.model_file, verdict_.model_hash));
    lines.push_back(writer_.say(Phrase::method_machine, verdict_.device, verdict_.isa, verdict_.threads,
                                verdict_.kv_format, verdict_.engine, verdict_.engine_version, verdict_.date,
                                fmt::format("{:.1f}", verdict_.seconds)));
    if (!verdict_.command_line.empty())
      lines.push_back(writer_.say(Phrase::method_command, verdict_.command_line));
    list(lines);
  }

  void results() {
    heading(2, writer_.say(Phrase::results));
    heading(3, writer_.say(Phrase::heading_table, verdict_.layers.empty() ? 0 : verdict_.layers.front()));
    text_ += b3_31_table(verdict_);
    norms();
    findings();
    maps();
    cells();
    stages();
    attestation();
    heading(3, writer_.say(Phrase::heading_coverage));
    list(writer_.coverage());
  }

  void findings() {
    if (facts_.findings.empty()) return;
    heading(3, writer_.say(Phrase::heading_findings));
    int number = 0;
    for (const FindingGroup& finding : facts_.findings) {
      text_ += fmt::format("{}. **{}**\n", ++number, writer_.place(finding));
      for (const std::string& sentence : writer_.finding(finding))
        text_ += fmt::format("   - {}\n", sentence);
    }
  }

  void norms() {
    if (has_norm_pairs(verdict_)) {
      heading(3, writer_.say(Phrase::heading_norm, verdict_.layers.empty() ? 0 : verdict_.layers.front()));
      text_ += b3_32_table(verdict_, writer_.language);
    }
    for (const NormAudit& audit : norm_audits(writer_)) {
      heading(3, audit.heading);
      list(audit.lines);
    }
  }

  void maps() {
    if (verdict_.noise.empty()) return;
    heading(3, writer_.say(Phrase::heading_map));
    text_ += writer_.say(Phrase::map_legend) + "\n";
    for (const Phase phase : {Phase::prefill, Phase::decode}) {
      const std::string map = noise_map(verdict_, phase);
      if (map.empty()) continue;
      text_ += fmt::format("\n{}\n\n```\n{}```\n", writer_.say(Phrase::heading_map_phase, name(phase)), map);
    }
  }

  void cells() {
    heading(3, writer_.say(Phrase::heading_cells));
    table_head(Phrase::head_cells);
    for (const Cell& cell : verdict_.cells) {
      const std::string layer = cell.first_layer == kNoLayer ? "" : fmt::format("L{} ", cell.first_layer);
      const std::string first = cell.has_first_difference ? fmt::format("{}{}", layer, name(cell.first_stage))
                                                          : writer_.say(Phrase::none);
      row({cell.key.experiment, cell.key.prompt, fmt::format("{}", cell.prompt_tokens),
           std::string(name(cell.verdict)), fmt::format("{}", cell.pairs_equal),
           fmt::format("{}", cell.pairs_rounding), fmt::format("{}", cell.pairs_fault),
           fmt::format("{}", cell.pairs_propagated), first, brief(cell.max_noise_ratio),
           cell.logits_top1_agree ? yes_no(*cell.logits_top1_agree) : "-"});
    }
  }

  void stages() {
    struct Row {
      std::array<int64_t, 5> counts{};
      double mae = 0, noise_ratio = 0;
    };
    std::array<Row, kStageCount> rows{};
    for (const StagePair& pair : verdict_.pairs) {
      Row& stage = rows[static_cast<size_t>(pair.stage)];
      const auto column = static_cast<size_t>(pair.status);
      if (column < stage.counts.size()) ++stage.counts[column];
      stage.mae = std::max(stage.mae, pair.metrics.mae);
      stage.noise_ratio = std::max(stage.noise_ratio, pair.noise_ratio);
    }
    heading(3, writer_.say(Phrase::heading_stages));
    table_head(Phrase::head_stages);
    for (int i = 0; i < kStageCount; ++i) {
      const auto& [counts, mae, noise_ratio] = rows[static_cast<size_t>(i)];
      if (std::all_of(counts.begin(), counts.end(), [](int64_t n) { return n == 0; })) continue;
      const auto count = [&counts = counts](PairStatus status) {
        return fmt::format("{}", counts[static_cast<size_t>(status)]);
      };
      row({std::string(name(static_cast<Stage>(i))), count(PairStatus::equal), count(PairStatus::rounding),
           count(PairStatus::fault), count(PairStatus::propagated), count(PairStatus::missing),
           fmt::format("{:.3e}", mae), brief(noise_ratio)});
    }
  }

  void attestation() {
    heading(3, writer_.say(Phrase::heading_attestation));
    table_head(Phrase::head_attestation);
    for (const Cell& cell : verdict_.cells) {
      row({name(cell.key), cell.prefill_q_kernel, cell.q.kernel, cell.k.kernel, cell.v.kernel,
           yes_no(cell.attested)});
    }
  }

  std::string yes_no(bool value) const { return writer_.say(value ? Phrase::yes : Phrase::no); }

  const Writer& writer_;
  const Verdict& verdict_;
  const Facts& facts_;
  std::string text_;
};

}  // namespace

std::string markdown(const Verdict& verdict, Language language) {
  const Verdict shown = printable_verdict(verdict);
  const Facts facts = facts_of(shown);
  return Markdown(Writer{shown, facts, language}).text();
}

}  // namespace greta::report
