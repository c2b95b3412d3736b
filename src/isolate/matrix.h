#pragma once
// Runs the experiment matrix and records it: prompts x experiments, each a prefill_last against a decode0.

#include <functional>
#include <string>
#include <vector>

#include "engine/session.h"
#include "isolate/experiment.h"
#include "isolate/fault.h"
#include "model/tokenizer.h"
#include "trace/recorder.h"

namespace greta::isolate {

struct MatrixPrompt {
  std::string id;
  std::string text;
  std::vector<TokenId> tokens;
};

struct MatrixRequest {
  std::vector<Experiment> experiments;
  std::vector<MatrixPrompt> prompts;
  std::vector<int> layers;  // traced; those outside layers always are
  RouteTable routes;        // base of every experiment
  std::vector<FaultSpec> faults;
  bool aligned = true;  // decode0: the last prompt token at its own position; else the next token
  int64_t prefill_block = kPrefillBlock;
};

/// What happens on the way. `event` may throw; `step` may throw to stop between two runs.
struct MatrixObserver {
  trace::Recorder::Sink event;
  std::function<void()> end_run;  // a phase of a cell is over
  std::function<void(int done, int total, const std::string& label)> step;
};

/// One prefill per prompt (the experiments force decode only), one decode0 per cell. Events of the shared
/// prefill are given to every cell that it belongs to.
void run_matrix(Engine& engine, const MatrixRequest& request, const MatrixObserver& observer);

}  // namespace greta::isolate
