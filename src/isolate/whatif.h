#pragma once
// What if another unit computed it: the same prompts on several devices, each held against one reference run
// and against the oracle of its own inputs.

#include <map>
#include <string>
#include <vector>

#include "isolate/accumulation_bias.h"
#include "isolate/matrix.h"
#include "isolate/verdict.h"
#include "trace/bundle.h"

namespace greta::isolate {

/// A unit's runs of the prompts, one prefill and one decode0 each, and what the oracle says of them.
struct UnitRun {
  std::string device;
  trace::Bundle bundle;  // of E0
  Verdict verdict;       // of `bundle`, without causes
  // Of all positions of all prompts in turn, from a prefill that keeps every row; layers: those traced.
  std::map<int, std::vector<float>> x_out;  // by layer, rows of n_embd
  std::vector<float> logits;                // rows of n_vocab
  std::vector<AccumulationBias> bias;
};

/// Runs the prompts with `request`'s layers, routes and faults (its experiments are not used) and judges what
/// was recorded. Input Errors as of Matrix.
UnitRun run_unit(Engine& engine, MatrixRequest request);

/// One stage of one layer against the reference's,
/// over the recorded rows of all prompts (judged_rows() and the last one).
struct StageDifference {
  bool prefill = true;  // else decode0
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
  Status status = Status::inconclusive;
  int exit_code = 4;           // as of Verdict
  double max_noise_ratio = 0;  // over all stages of both phases
  std::string first_fault;     // "prefill layer 3 q"; empty: none
  std::vector<StageDifference> stages;
  std::vector<Drift> drift;
  LogitDifference logits;
  std::vector<AccumulationBias> bias;
};

/// `unit` against `reference`: runs of the same request on the same model.
UnitResult compare_units(const UnitRun& reference, const UnitRun& unit, const ModelConfig& config);

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

/// The route of every projection in the reference run: the CPU's f32 FMAs.
RouteTable reference_routes();

}  // namespace greta::isolate
