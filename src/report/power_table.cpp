#include "report/power_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/printable.h"
#include "io/json_number.h"
#include "report/layout.h"
#include "verdict/power_score.h"

namespace greta::report {
namespace {

std::string explained(const ClassScore& score) {
  // Cut, not rounded: 0.999998 is not 1.
  return score.least_explained ? fmt::format("{:.5f}", std::floor(*score.least_explained * 1e5) / 1e5) : "-";
}

std::string required(const Total& total) {
  return total.must_be_zero ? "0" : fmt::format(">= {:.0f} %", total.required);
}

std::string measured(const Total& total) {
  if (total.must_be_zero) return fmt::format("{} of {}", total.good, total.of);
  return fmt::format("{}/{} = {:.1f} %", total.good, total.of, std::floor(total.percent() * 10) / 10);
}

int among_in(const PowerResult& result) {
  return static_cast<int>(std::count_if(result.singles.begin(), result.singles.end(), [](const Detection& d) {
    return d.acts && d.naming == Naming::among;
  }));
}

std::string among_sentence(const PowerResult& result) {
  const int among = among_in(result);
  if (among == 0) return "";
  return fmt::format("{} more {} \"ambiguous\", with the right name among the rivals: not counted as right.",
                     among, among == 1 ? "is" : "are");
}

std::string clean_sentence(const PowerResult& result) {
  if (result.clean.empty()) return "";
  const CleanRun* noisiest = &result.clean.front();
  double coverage = 100;
  for (const CleanRun& run : result.clean) {
    if (run.noise_ratio > noisiest->noise_ratio) noisiest = &run;
    coverage = std::min(coverage, run.coverage);
  }
  return fmt::format(
      "Clean runs: {}; the largest noise ratio is {:.4f} (a fault is above 1), of {} with {}; coverage "
      "{:.0f} %.",
      result.clean.size(), noisiest->noise_ratio, noisiest->noisiest, noisiest->prompt, std::floor(coverage));
}

std::string stacked_sentence(const PowerResult& result) {
  if (result.stacks.empty()) return "";
  const auto confirmed = std::count_if(result.stacks.begin(), result.stacks.end(),
                                       [](const StackedDetection& s) { return s.confirmed; });
  return fmt::format(
      "Stacked: {} runs; {} needed interventions, because the judgement alone did not list all.",
      result.stacks.size(), confirmed);
}

std::string machine_sentence(const PowerResult& result) {
  return fmt::format("{}, {}, {} threads, {:.0f} s.", greta::printable(result.model), result.isa,
                     result.threads, result.seconds);
}

/// Both routes of a limit side by side.
struct LimitRow {
  std::string fault, phase;
  int layer = 0;
  std::string matrix = "-", vector = "-";
};

std::vector<LimitRow> limit_rows(const std::vector<DetectionLimit>& limits) {
  std::vector<LimitRow> rows;
  for (const DetectionLimit& limit : limits) {
    const std::string phase(name(limit.phase));
    const bool same = !rows.empty() && rows.back().fault == limit.fault && rows.back().phase == phase &&
                      rows.back().layer == limit.layer;
    if (!same) rows.push_back({limit.fault, phase, limit.layer});
    const std::string size = limit.size ? fmt::format("{:.1e}", *limit.size) : "not flagged";
    (limit.route == "matrix" ? rows.back().matrix : rows.back().vector) = size;
  }
  return rows;
}

std::string terminal_limits(const std::vector<DetectionLimit>& limits) {
  if (limits.empty()) return "";
  std::string text =
      fmt::format("\nsmallest relative size that is flagged\n{:<15} {:<8} {:>5} {:>12} {:>12}\n", "fault",
                  "phase", "layer", "matrix", "vector");
  for (const LimitRow& row : limit_rows(limits)) {
    text += fmt::format("{:<15} {:<8} {:>5} {:>12} {:>12}\n", row.fault, row.phase, row.layer, row.matrix,
                        row.vector);
  }
  return text;
}

std::string markdown_limits(const std::vector<DetectionLimit>& limits) {
  if (limits.empty()) return "";
  std::string text =
      "\n### The weakest fault that is flagged\n"
      "The smallest relative size `by=X` (to a factor of 1.1) with a finding at the fault's place and "
      "phase.\n\n"
      "| fault | phase | layer | matrix route | vector route |\n|---|---|---:|---:|---:|\n";
  for (const LimitRow& row : limit_rows(limits)) {
    text +=
        fmt::format("| {} | {} | {} | {} | {} |\n", row.fault, row.phase, row.layer, row.matrix, row.vector);
  }
  return text;
}

nlohmann::json to_json(const Detection& d) {
  return {{"fault", d.fault},
          {"class", d.fault_class},
          {"expected", d.expected},
          {"acts", d.acts},
          {"found", d.found},
          {"right_phase", d.right_phase},
          {"right_place", d.right_place},
          {"naming", name(d.naming)},
          {"named", d.named},
          {"title", d.title},
          {"findings_elsewhere", d.others},
          {"explained_residual", json_number(d.explained_residual)},
          {"noise_ratio", json_number(d.noise_ratio)},
          {"seconds", d.seconds}};
}

nlohmann::json to_json(const StackedDetection& stack) {
  nlohmann::json faults = nlohmann::json::array();
  for (const Detection& d : stack.faults) {
    faults.push_back({{"fault", d.fault},
                      {"listed", d.right_place && d.right_phase},
                      {"naming", name(d.naming)},
                      {"named", d.named}});
  }
  return {{"faults", faults},
          {"findings_elsewhere", stack.others},
          {"interventions", stack.confirmed},
          {"seconds", stack.seconds}};
}

nlohmann::json to_json(const CleanRun& run) {
  return {
      {"prompt", run.prompt},     {"tokens", run.tokens},     {"route", run.route},
      {"isa", run.isa},           {"threads", run.threads},   {"status", name(run.status)},
      {"findings", run.findings}, {"coverage", run.coverage}, {"noise_ratio", json_number(run.noise_ratio)},
      {"noisiest", run.noisiest}};
}

nlohmann::json to_json(const DetectionLimit& limit) {
  return {{"fault", limit.fault},
          {"phase", name(limit.phase)},
          {"layer", limit.layer},
          {"route", limit.route},
          {"size", limit.size ? nlohmann::json(*limit.size) : nlohmann::json()}};
}

nlohmann::json to_json(const ClassScore& score) {
  return {{"class", score.fault_class},
          {"has_hypothesis", score.has_name},
          {"runs", score.runs},
          {"found", score.found},
          {"right_phase", score.right_phase},
          {"right_place", score.right_place},
          {"rightly_named", score.named},
          {"ambiguous", score.among},
          {"wrongly_named", score.wrong},
          {"least_explained_residual",
           score.least_explained ? nlohmann::json(*score.least_explained) : nlohmann::json()},
          {"median_seconds", score.median_seconds}};
}

/// How many single faults ended how.
nlohmann::json summary_of(const PowerResult& result) {
  nlohmann::json counts{{"right", 0},
                        {"ambiguous", 0},
                        {"unexplained", 0},
                        {"wrong", 0},
                        {"missed", 0},
                        {"inactive", 0},
                        {"impossible", result.impossible.size()}};
  for (const Detection& d : result.singles) {
    const bool at = d.right_place && d.right_phase;
    const std::string key = !d.acts ? "inactive" : !at ? "missed" : std::string(name(d.naming));
    counts[key] = counts[key].get<int>() + 1;
  }
  counts["stacked"] = result.stacks.size();
  counts["clean"] = result.clean.size();
  counts["holds"] = all_hold(totals_of(result));
  return counts;
}

template <class T, class Make>
nlohmann::json array_of(const std::vector<T>& some, Make make) {
  nlohmann::json array = nlohmann::json::array();
  for (const T& one : some) array.push_back(make(one));
  return array;
}

}  // namespace

std::string power_terminal(const PowerResult& result) {
  std::string text =
      fmt::format("{:<22} {:>4} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:>8} {:>6}\n", "class of faults", "runs",
                  "found", "phase", "place", "named", "ambig", "wrong", "expl.min", "time");
  bool nameless = false;
  for (const ClassScore& score : score_classes(result.singles)) {
    nameless = nameless || !score.has_name;
    text += fmt::format("{:<22} {:>4} {:>5} {:>5} {:>5} {:>5} {:>5} {:>5} {:>8} {:>4.1f} s\n",
                        score.fault_class, score.runs, score.found, score.right_phase, score.right_place,
                        score.has_name ? fmt::format("{}", score.named) : fmt::format("{}*", score.named),
                        score.among, score.wrong, explained(score), score.median_seconds);
  }
  if (nameless) text += "* no hypothesis: \"unexplained\" is the right answer\n";
  text += fmt::format("\n{:<46} {:<17} {:<9}\n", "total", "measured", "required");
  for (const Total& total : totals_of(result)) {
    text += fmt::format("{:<46} {:<17} {:<8} {}\n", total.what, measured(total), required(total),
                        total.holds() ? "holds" : "FAILS");
  }
  for (const std::string& sentence :
       {among_sentence(result), stacked_sentence(result), clean_sentence(result)}) {
    if (!sentence.empty()) text += wrap("", sentence, 4);
  }
  const std::vector<std::string> misses = misses_of(result);
  const std::vector<Total> totals = totals_of(result);
  const bool holds =
      std::all_of(totals.begin(), totals.end(), [](const Total& total) { return total.holds(); });
  if (!misses.empty())
    text += holds ? "\nmissed or ambiguous, within what is required:\n" : "\nnot as it should be:\n";
  for (const std::string& miss : misses) text += wrap("", "- " + miss, 4);
  return text + terminal_limits(result.limits) + "\n" + wrap("", machine_sentence(result), 4);
}

std::string power_markdown(const PowerResult& result) {
  std::string text =
      machine_sentence(result) + "\n\n### Totals\n\n| | measured | required | |\n|---|---|---|---|\n";
  for (const Total& total : totals_of(result)) {
    text += fmt::format("| {} | {} | {} | {} |\n", total.what, measured(total), required(total),
                        total.holds() ? "holds" : "**fails**");
  }
  for (const std::string& sentence :
       {among_sentence(result), stacked_sentence(result), clean_sentence(result)}) {
    if (!sentence.empty()) text += "\n" + sentence + "\n";
  }
  text +=
      "\n### Single faults by class\n"
      "\"named\": rightly; with * the class has no hypothesis and \"unexplained\" is right. \"explained\": "
      "the "
      "smallest\nexplained residual of those rightly named. \"time\": the median of a run, recording "
      "included.\n\n"
      "| class | runs | found | phase | place | named | ambiguous | wrong | explained | time |\n"
      "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
  for (const ClassScore& score : score_classes(result.singles)) {
    text += fmt::format("| {} | {} | {} | {} | {} | {}{} | {} | {} | {} | {:.1f} s |\n", score.fault_class,
                        score.runs, score.found, score.right_phase, score.right_place, score.named,
                        score.has_name ? "" : "*", score.among, score.wrong, explained(score),
                        score.median_seconds);
  }
  const std::vector<std::string> misses = misses_of(result);
  if (!misses.empty()) text += "\n### Not as it should be\n\n";
  for (const std::string& miss : misses) text += "- " + miss + "\n";
  return text + markdown_limits(result.limits);
}

nlohmann::json power_json(const PowerResult& result) {
  const auto json = [](const auto& one) { return to_json(one); };
  return {{"schema", "greta.selftest/1"},
          {"model", result.model},
          {"isa", result.isa},
          {"threads", result.threads},
          {"command_line", result.command_line},
          {"seconds", result.seconds},
          {"summary", summary_of(result)},
          {"totals", array_of(totals_of(result),
                              [](const Total& total) {
                                return nlohmann::json{{"what", total.what},
                                                      {"count", total.good},
                                                      {"of", total.of},
                                                      {"required_percent", total.required},
                                                      {"holds", total.holds()}};
                              })},
          {"classes", array_of(score_classes(result.singles), json)},
          {"faults", array_of(result.singles, json)},
          {"impossible", result.impossible},
          {"stacked", array_of(result.stacks, json)},
          {"clean", array_of(result.clean, json)},
          {"weakest", array_of(result.limits, json)}};
}

std::string with_measured(const std::string& document, const std::string& measured, const std::string& path) {
  const std::string block = fmt::format("{}\n{}{}\n", kPowerBegin, measured, kPowerEnd);
  if (document.empty()) return "# Detection power\n\n" + block;
  const size_t begin = document.find(kPowerBegin), end = document.find(kPowerEnd);
  if (begin == std::string::npos || end == std::string::npos || end < begin) {
    fail_input("--out {}: the file exists and has no lines \"{}\" and \"{}\" to write between; name another",
               path, kPowerBegin, kPowerEnd);
  }
  std::string rest = document.substr(end + std::string(kPowerEnd).size());
  if (rest.starts_with('\n')) rest.erase(0, 1);
  return document.substr(0, begin) + block + rest;
}

}  // namespace greta::report
