#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "report/b3_32.h"
#include "report/noise_map.h"
#include "report/writer.h"

namespace greta::report {
namespace {

class Full {
 public:
  explicit Full(const Writer& writer) : writer_(writer), verdict_(writer.verdict), facts_(writer.facts) {}

  Document document() {
    heading(1,
            writer_.say(Phrase::title, verdict_.model_name.empty() ? verdict_.engine : verdict_.model_name));
    summary();
    findings();
    method();
    results();
    heading(2, writer_.say(Phrase::conclusion));
    list(writer_.conclusion());
    heading(2, writer_.say(Phrase::next_step));
    list(writer_.next_steps());
    return std::move(document_);
  }

 private:
  void heading(int level, std::string title) { document_.push_back(Heading{level, std::move(title)}); }

  void list(const std::vector<std::string>& sentences) { document_.push_back(plain_list(sentences)); }

  void summary() {
    heading(2, writer_.say(Phrase::summary));
    document_.push_back(Paragraph{writer_.headline(), writer_.word(name(verdict_.status))});
    std::vector<std::string> lines;
    if (!facts_.findings.empty()) {
      lines = writer_.finding_brief(facts_.findings.front());
      const std::string command = writer_.smallest_command(facts_.findings.front());
      if (!command.empty()) lines.push_back(writer_.say(Phrase::finding_smallest, command));
    }
    for (std::string& sentence : writer_.not_exercised()) lines.push_back(std::move(sentence));
    if (!verdict_.injected.empty()) lines.push_back(writer_.say(Phrase::injected, join(verdict_.injected)));
    if (facts_.any_pair && !writer_.attestation().empty()) lines.push_back(writer_.attestation());
    if (verdict_.aligned) lines.push_back(writer_.logits());
    lines.push_back(writer_.coverage().front());
    for (std::string& sentence : writer_.ops()) lines.push_back(std::move(sentence));
    for (std::string& sentence : writer_.untested()) lines.push_back(std::move(sentence));
    for (std::string& sentence : writer_.factors()) lines.push_back(std::move(sentence));
    for (std::string& sentence : writer_.arithmetic()) lines.push_back(std::move(sentence));
    list(lines);
  }

  void method() {
    heading(2, writer_.say(Phrase::method));
    std::vector<std::string> lines{writer_.method()};
    if (writer_.is_misaligned()) lines.push_back(writer_.say(Phrase::not_aligned));
    if (verdict_.aligned && facts_.any_pair) lines.push_back(writer_.say(Phrase::method_aligned));
    lines.push_back(writer_.say(Phrase::method_judge));
    const std::string prompts = join(facts_.prompts), layers = layer_ranges(verdict_.layers);
    if (writer_.has_routes()) {
      lines.push_back(writer_.say(Phrase::method_table));
      lines.push_back(writer_.say(Phrase::method_matrix, join(facts_.experiments), prompts, layers));
    } else {
      lines.push_back(writer_.say(Phrase::method_recorded, prompts, layers));
    }
    lines.push_back(
        writer_.say(Phrase::method_model, verdict_.model_name, verdict_.model_file, verdict_.model_hash));
    const auto known = [](const std::string& text) { return text.empty() ? "-" : text; };
    const std::string threads = verdict_.threads > 0 ? std::to_string(verdict_.threads) : "";
    lines.push_back(writer_.say(Phrase::method_machine, known(verdict_.device), known(verdict_.isa),
                                known(threads), known(verdict_.kv_format), verdict_.engine,
                                verdict_.engine_version, verdict_.date,
                                fmt::format("{:.1f}", verdict_.seconds)));
    if (!verdict_.command_line.empty())
      lines.push_back(writer_.say(Phrase::method_command, verdict_.command_line));
    list(lines);
  }

  void results() {
    heading(2, writer_.say(Phrase::results));
    add_first_layer(writer_, document_);
    maps();
    cells();
    stages();
    if (writer_.has_routes()) attestation();
    heading(3, writer_.say(Phrase::heading_coverage));
    std::vector<std::string> lines = writer_.coverage();
    for (std::string& sentence : writer_.exercised()) lines.push_back(std::move(sentence));
    list(lines);
  }

  void findings() {
    if (facts_.findings.empty()) return;
    heading(2, writer_.say(Phrase::heading_findings));
    List list{.items = {}, .numbered = true};
    for (const FindingGroup& finding : facts_.findings)
      list.items.push_back({writer_.place(finding), writer_.finding(finding)});
    document_.push_back(std::move(list));
  }

  void maps() {
    if (verdict_.noise.empty()) return;
    heading(3, writer_.say(Phrase::heading_map));
    document_.push_back(Paragraph{writer_.say(Phrase::map_legend)});
    for (const Phase phase : {Phase::prefill, Phase::decode}) {
      NoiseMap map = noise_map(verdict_, phase);
      map.caption = writer_.say(Phrase::heading_map_phase, name(phase));
      if (!map.empty()) document_.push_back(std::move(map));
    }
  }

  std::string first_difference(const Cell& cell) const {
    if (!cell.has_first_difference) return writer_.say(Phrase::none);
    const std::string layer = cell.first_layer == kNoLayer ? "" : fmt::format("L{} ", cell.first_layer);
    return fmt::format("{}{}", layer, name(cell.first_stage));
  }

  void cells() {
    heading(3, writer_.say(Phrase::heading_cells));
    Table table{columns({Phrase::column_experiment, Phrase::column_prompt, Phrase::column_tokens,
                         Phrase::column_verdict, Phrase::column_equal, Phrase::column_rounding,
                         Phrase::column_fault, Phrase::column_propagated, Phrase::column_first_difference,
                         Phrase::column_noise_ratio, Phrase::column_top1}),
                {}};
    for (const Cell& cell : verdict_.cells) {
      table.rows.push_back({cell.key.experiment, cell.key.prompt, fmt::format("{}", cell.prompt_tokens),
                            writer_.word(name(cell.verdict)), fmt::format("{}", cell.pairs_equal),
                            fmt::format("{}", cell.pairs_rounding), fmt::format("{}", cell.pairs_fault),
                            fmt::format("{}", cell.pairs_propagated), first_difference(cell),
                            brief(cell.max_noise_ratio),
                            cell.logits_top1_agree ? writer_.yes_no(*cell.logits_top1_agree) : "-"});
    }
    document_.push_back(std::move(table));
  }

  /// The pairs of one stage: how many of each status, and the worst.
  struct StageRow {
    std::array<int64_t, kPairStatuses.size()> counts{};
    double mae = 0, noise_ratio = 0;
  };

  void stages() {
    std::array<StageRow, kStageCount> rows{};
    for (const StagePair& pair : verdict_.pairs) {
      StageRow& stage = rows[static_cast<size_t>(pair.stage)];
      ++stage.counts[static_cast<size_t>(pair.status)];
      stage.mae = std::max(stage.mae, pair.metrics.mae);
      stage.noise_ratio = std::max(stage.noise_ratio, pair.noise_ratio);
    }
    heading(3, writer_.say(Phrase::heading_stages));
    Table table{columns({Phrase::column_stage}), {}};
    for (const PairStatus status : kPairStatuses) table.columns.push_back({writer_.word(name(status))});
    for (const Phrase worst : {Phrase::column_mae, Phrase::column_noise_ratio})
      table.columns.push_back({writer_.say(worst)});
    for (size_t i = 0; i < rows.size(); ++i) {
      const StageRow& stage = rows[i];
      if (std::all_of(stage.counts.begin(), stage.counts.end(), [](int64_t n) { return n == 0; })) continue;
      std::vector<TableCell> row{name(static_cast<Stage>(i))};
      for (const PairStatus status : kPairStatuses)
        row.emplace_back(fmt::format("{}", stage.counts[static_cast<size_t>(status)]));
      row.emplace_back(fmt::format("{:.3e}", stage.mae));
      row.emplace_back(brief(stage.noise_ratio));
      table.rows.push_back(std::move(row));
    }
    document_.push_back(std::move(table));
  }

  void attestation() {
    heading(3, writer_.say(Phrase::heading_attestation));
    Table table{columns({Phrase::column_cell}), {}};
    const auto kernel_of = [&](Stage stage, std::string_view phase) {
      table.columns.push_back({writer_.say(Phrase::column_in_phase, name(stage), phase)});
    };
    kernel_of(Stage::q, kPrefill);
    for (const Stage stage : {Stage::q, Stage::k, Stage::v}) kernel_of(stage, kDecode0);
    table.columns.push_back({writer_.say(Phrase::column_attested)});
    for (const Cell& cell : verdict_.cells) {
      table.rows.push_back({name(cell.key), cell.prefill_q_kernel, cell.q.kernel, cell.k.kernel,
                            cell.v.kernel, writer_.yes_no(cell.attested)});
    }
    document_.push_back(std::move(table));
  }

  std::vector<Column> columns(std::initializer_list<Phrase> heads) const {
    std::vector<Column> list;
    for (const Phrase head : heads) list.push_back({writer_.say(head)});
    return list;
  }

  const Writer& writer_;
  const Verdict& verdict_;
  const Facts& facts_;
  Document document_;
};

}  // namespace

Document full_report(const Report& report, Language language) {
  return Full(Writer(report, language)).document();
}

std::string markdown(const Report& report, Language language) {
  return to_markdown(full_report(report, language));
}

}  // namespace greta::report
