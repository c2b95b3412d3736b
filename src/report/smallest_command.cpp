// The shortest way to see a finding again.

#include <fmt/format.h>

#include <algorithm>

#include "model/prompt.h"
#include "report/writer.h"

namespace greta::report {
namespace {

/// Of the finding's cells the one with the shortest prompt that GRETA has; nullptr: none.
const Cell* shortest_cell(const Verdict& verdict, const Finding& finding) {
  const Cell* shortest = nullptr;
  for (const Cell& cell : verdict.cells) {
    const bool seen = std::find(finding.cells.begin(), finding.cells.end(), cell.key) != finding.cells.end();
    if (!seen || !is_built_in_prompt(cell.key.prompt)) continue;
    if (shortest == nullptr || cell.prompt_tokens < shortest->prompt_tokens) shortest = &cell;
  }
  return shortest;
}

/// As a shell reads it.
std::string quoted(const std::string& word) {
  const bool plain =
      word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=@,+") ==
      std::string::npos;
  if (plain && !word.empty()) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

}  // namespace

std::string Writer::smallest_command(const FindingGroup& group) const {
  const Finding& finding = group.first;
  const bool isolated = verdict.command_line.find(" isolate ") != std::string::npos;
  const Cell* cell = isolated ? shortest_cell(verdict, finding) : nullptr;
  if (cell == nullptr || is_of_runs(finding)) return "";
  std::string command = fmt::format("greta isolate -m {} --experiments {} --prompts {}",
                                    quoted(verdict.model_file), cell->key.experiment, cell->key.prompt);
  if (finding.layer != kNoLayer) command += fmt::format(" --layers {}", finding.layer);
  if (!verdict.device.empty() && verdict.device != "cpu") command += " --device " + quoted(verdict.device);
  for (const std::string& fault : verdict.injected) command += " --inject " + quoted(fault);
  return command + " --quick --out small";
}

}  // namespace greta::report
