#pragma once
// What a verdict's numbers say, before anyone puts it into words.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "isolate/verdict.h"

namespace greta::report {

/// Findings alike but for their layer.
struct FindingGroup {
  isolate::Finding first;   // with the largest figures of all its layers
  std::vector<int> layers;  // empty outside the layers
};

/// How much a factor moves the MAE of one of Q, K, V: max |a - b| / max(a, b) over pairs of attested cells
/// that differ in it alone. Empty without such a pair. Where that stage is at fault, only prompts that show
/// the fault count: in the others rounding is all that moves.
struct Effects {
  Stage stage = Stage::q;     // k or v when the first fault is there
  bool stage_faulty = false;  // the first fault is in `stage`
  std::optional<double> route, gemm, prompt;
};

/// A change that counts as none: routes round differently, and rounding moves a fault's MAE a little.
inline constexpr double kNoEffect = 0.05;

struct Facts {
  std::vector<std::string> experiments, prompts;  // in order of appearance
  std::map<isolate::Status, std::vector<std::string>>
      groups;                          // experiments by the worst verdict of their cells
  std::vector<FindingGroup> findings;  // in execution order of their first layer
  Effects effects;
  bool mae_all_zero = true;
  std::vector<std::string> one_token_prompts;
  // Prompts whose q of layer 0 is the same in both phases: equal figures that look like a broken harness.
  std::vector<std::vector<std::string>> same_last_token;
  std::vector<std::string> unattested;    // cells
  std::vector<std::string> top1_differs;  // cells
  bool logits_recorded = false;
  double max_noise_ratio = 0;
  std::map<std::string, int64_t> skipped;  // why -> pairs
};

Facts facts_of(const isolate::Verdict& verdict);

std::string cell_name(const isolate::Cell& cell);

/// "0-3,7"; "-" when empty.
std::string layer_ranges(std::vector<int> layers);

/// "E0, E2, E3".
std::string join(const std::vector<std::string>& words);

/// "MFMA", or "MFMA/VALU/VALU" when q, k, v differ; "-" when unknown.
std::string routes_used(const isolate::Cell& cell);

/// "auto", "valu", "mfma".
std::string route_forced(const isolate::Cell& cell);

}  // namespace greta::report
