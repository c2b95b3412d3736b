#pragma once
// How far two right runs of one precision can part: roundings are drawn and sent through the model, and what
// they move is multiplied by what a bound allows beyond its mean square (docs/bounds.md).

#include <functional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "engine/plan_edit.h"
#include "model/prompt.h"
#include "verdict/bound.h"

namespace greta {

/// What an engine holds numbers in.
struct Precision {
  std::string_view name;
  Format input;   // of a projection: what its rows are rounded to
  Format result;  // of every stage, the residual stream included
};

/// f32, bf16, f16, int8.
std::span<const Precision> precisions();

struct BoundRequest {
  std::vector<Prompt> prompts;
  Precision precision = {};
  Stage stage = Stage::logits;
  bool logprobs = false;  // of the logits
  std::vector<int> layers = {};
  int draws = 16;
  uint64_t seed = 1;
  std::function<void(int done, int total, const std::string& label)> progress = {};
};

/// Every stage's result moves by its largest rounding error, up or down by chance; f32's own are in it.
void add_rounding(PlanEdit& edit, const Precision& precision, uint64_t seed);

/// Runs each prompt once as it is (the vector route, f32) and `draws` times with roundings.
RoundingBound measure_bound(Engine& engine, const BoundRequest& request);

}  // namespace greta
