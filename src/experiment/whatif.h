#pragma once
// What if another unit computed it: the same prompts on several devices, each held against one reference run
// and against the oracle of its own inputs.

#include <map>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "judge/accumulation_bias.h"
#include "record/matrix.h"
#include "verdict/verdict.h"
#include "verdict/whatif.h"

namespace greta {

/// A unit's runs of the prompts, one prefill and one decode0 each, and what the oracle says of them.
struct UnitRun {
  std::string device;
  Bundle bundle;    // of E0
  Verdict verdict;  // of `bundle`, without causes
  // Of all positions of all prompts in turn, from a prefill that keeps every row; layers: those traced.
  std::map<int, std::vector<float>> x_out;  // by layer, rows of n_embd
  std::vector<float> logits;                // rows of n_vocab
  std::vector<AccumulationBias> bias;
};

/// Runs the prompts with `request`'s layers, routes and faults (its experiments are not used) and judges what
/// was recorded. Input Errors as of Matrix.
UnitRun run_unit(Engine& engine, MatrixRequest request);

/// `unit` against `reference`: runs of the same request on the same model.
UnitResult compare_units(const UnitRun& reference, const UnitRun& unit, const ModelConfig& config);

/// The route of every projection in the reference run: the CPU's f32 FMAs.
RouteTable reference_routes();

}  // namespace greta
