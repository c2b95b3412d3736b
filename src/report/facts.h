#pragma once
// What a verdict's numbers say, before anyone puts it into words.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "report/effects.h"
#include "verdict/verdict.h"

namespace greta::report {

/// Findings of one cause (verdict/same_cause.h).
struct FindingGroup {
  struct Place {
    Stage stage = Stage::x_in;
    std::vector<int> layers = {};  // empty outside the layers
  };

  /// With the worst figures of all its places; its pattern is empty where the places' differ, its
  /// intervention the first that failed, or else the first.
  Finding first = {};
  std::vector<size_t> members = {};  // indices of the verdict's findings
  std::vector<Place> places = {};    // in order of appearance
  bool pattern_varies = false;
  At intervention_at = {};
  int64_t interventions = 0, confirmed = 0;  // places
};

struct Facts {
  std::vector<std::string> experiments, prompts;  // in order of appearance
  // Experiments by the worst verdict of their cells.
  std::map<RunStatus, std::vector<std::string>> groups;
  std::vector<FindingGroup> findings;  // in execution order of their first layer
  Effects effects;
  bool any_pair = false;  // a cell with both prefill_last and decode0
  bool mae_all_zero = true;
  std::vector<std::string> one_token_prompts;
  // Prompts whose q of layer 0 is the same in both phases: equal figures that look like a broken harness.
  std::vector<std::vector<std::string>> same_last_token;
  std::vector<CellKey> unattested, top1_differs;
  bool logits_recorded = false;
  double max_noise_ratio = 0;
  // Of sums of two numbers, one rounding each, which fill their bound; and of all other stages.
  double max_of_single_roundings = 0, max_of_others = 0;
  std::map<std::string, int64_t> skipped;  // why -> pairs
  std::vector<std::string>
      only_compared;  // stages that some pair has equal, or unequal before, but not judged
};

Facts facts_of(const Verdict& verdict);

/// The largest noise ratio of a stage in one phase over all cells; empty when it was not judged there.
std::optional<double> noise_at(const Verdict& verdict, Phase phase, int layer, Stage stage);

/// "0-3,7"; "-" when empty.
std::string layer_ranges(std::vector<int> layers);

/// "E0, E2, E3".
std::string join(const std::vector<std::string>& words);

/// %.5e; "-" where there was nothing to compare.
std::string mae_text(const Cell& cell, double mae);

/// "MFMA", or "MFMA/VALU/VALU" when q, k, v differ; "-" when unknown.
std::string routes_used(const Cell& cell);

/// "auto", "valu", "mfma".
std::string route_forced(const Cell& cell);

}  // namespace greta::report
