#pragma once
// What other units made of the same prompts, held against a reference run: plain data, from which its reports
// are made.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "verdict/verdict.h"

namespace greta {

/// A mean and how far chance may have moved it.
struct Mean {
  double value = 0;
  double standard_error = 0;  // from the scatter between input rows; infinite for a single one
  // By the rule of a unit that truncates or floors, of the same outputs (Expected::drift).
  std::optional<double> expected = {};
};

/// All outputs of all recorded projections of one phase and route, in units of the result's last place (ulp:
/// of the f32 result, or of the root mean square of its row where the result is smaller: cancelled results
/// would otherwise count without limit).
struct AccumulationBias {
  Phase phase = Phase::prefill;
  std::string route = {};  // "matrix" or "vector"
  std::vector<std::string> kernels = {};
  int64_t count = 0;   // outputs
  int64_t inputs = 0;  // rows that they are made from
  Mean up = {};        // observed - exact: below 0, values are rounded down (floor)
  Mean outward = {};  // the same times the result's sign: below 0, they are rounded towards zero (truncation)
};

/// One stage of one layer against the reference's,
/// over the recorded rows of all prompts (judged_rows() and the last one).
struct StageDifference {
  Phase phase = Phase::prefill;  // decode: decode0
  int layer = kNoLayer;
  Stage stage = Stage::x_in;
  double max_abs = 0, mean_abs = 0;
  double noise_ratio = 0;  // of the unit's own rows against the oracle of their own inputs
};

/// |unit - reference| / |reference| (L2) of a layer's x_out, the mean over all positions of all prompts.
struct Drift {
  int layer = 0;
  double rel_l2 = 0;
};

/// Logits of prefill at all positions.
struct LogitDifference {
  int64_t positions = 0, top1_agree = 0;
  double kl_mean = 0, kl_max = 0;  // KL(reference || unit), nats
  double max_abs = 0, mean_abs = 0;
};

struct UnitResult {
  std::string device;
  RunStatus status = RunStatus::inconclusive;
  double max_noise_ratio = 0;  // over all stages of both phases
  std::string first_fault;     // "prefill layer 3 q"; empty: none
  std::vector<StageDifference> stages;
  std::vector<Drift> drift;
  LogitDifference logits;
  std::vector<AccumulationBias> bias;
};

struct WhatIf {
  std::string model_name, model_file, model_hash, isa, kv_format, sim_input, command_line;
  std::vector<std::string> routes, injected;             // of the units; the reference has none
  std::vector<std::pair<std::string, int64_t>> prompts;  // and their tokens
  std::vector<int> layers;
  UnitResult reference;  // all differences are 0
  std::vector<UnitResult> units;
  double seconds = 0;
};

/// 1 if any unit, the reference included, has a stage outside its bound;
/// else 4 if one can't be vouched for; else 0.
int exit_code_of(const WhatIf& result);

}  // namespace greta
