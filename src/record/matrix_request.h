#pragma once
// What a run of the experiment matrix is asked for.

#include <vector>

#include "engine/session.h"
#include "model/prompt.h"
#include "record/experiment.h"

namespace greta {

struct MatrixRequest {
  std::vector<Experiment> experiments;
  std::vector<Prompt> prompts;
  std::vector<int> layers;  // traced; those outside layers always are
  RouteTable routes;        // base of every experiment
  PlanChange change = {};   // of every plan: faults, interventions
  bool aligned = true;      // decode0: the last prompt token at its own position; else the next token
  int64_t prefill_block = kPrefillBlock;
};

/// The rows of a prompt of n tokens that are judged besides the last: of the stages that later tokens see
/// through the cache, of attention and of the norms (of one row, a wrong eps looks like a wrong scale) all up
/// to 64 tokens, else the first, the last and those around block and window edges;
/// of the FFN the first three.
std::vector<int64_t> judged_rows(Stage stage, int64_t n);

}  // namespace greta
