#pragma once
// Runs the experiment matrix and records it: prompts x experiments, each a prefill_last against a decode0.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/plan_change.h"
#include "model/prompt.h"
#include "record/experiment.h"
#include "record/recorder.h"

namespace greta {

struct MatrixRequest {
  std::vector<Experiment> experiments;
  std::vector<Prompt> prompts;
  std::vector<int> layers;                         // traced; those outside layers always are
  RouteTable routes;                               // base of every experiment
  PlanChange change = {};                          // of every plan: faults
  std::function<void(Plan& plan)> overwrite = {};  // of every plan, after its record ops: interventions
  bool aligned = true;  // decode0: the last prompt token at its own position; else the next token
  int64_t prefill_block = kPrefillBlock;
};

/// The rows of a prompt of n tokens that are judged besides the last: of the stages that later tokens see
/// through the cache, of attention and of the norms (of one row, a wrong eps looks like a wrong scale) all up
/// to 64 tokens, else the first, the last and those around block and window edges; of the FFN the first
/// three.
std::vector<int64_t> judged_rows(Stage stage, int64_t n);

/// What happens on the way. `event` may throw; `step` may throw to stop between two runs.
struct MatrixObserver {
  Recorder::Sink event;
  std::function<void()> end_run;  // a phase of a cell is over
  std::function<void(int done, int total, const std::string& label)> step;
};

/// One prefill per prompt (the experiments force decode only), one decode0 per cell. Events of the shared
/// prefill are given to every cell that it belongs to.
class Matrix {
 public:
  /// Makes all plans: a forced route that can't run, or a prompt that does not fit, is an input Error here,
  /// before anything has run. `engine` and `request` must outlive it.
  Matrix(Engine& engine, const MatrixRequest& request);

  void run(const MatrixObserver& observer);

 private:
  struct PrefillPlans {
    Plan inner, last;  // all blocks but the last fill the cache only
  };

  TokenId prefill(Session& session, const Prompt& prompt);
  void decode(Session& session, const Prompt& prompt, size_t experiment, TokenId next);
  int64_t block_of(const Prompt& prompt) const;
  Plan plan(Phase phase, int64_t rows, bool logits, const RouteTable& wanted) const;
  void record(Plan& plan, Recorder& recorder, bool rows = false) const;
  void overwrite(Plan& plan) const;
  void to_all_cells(Event event, std::span<const float> values) const;

  Engine& engine_;
  const MatrixRequest& request_;
  const MatrixObserver* observer_ = nullptr;
  Recorder prefill_recorder_, rows_recorder_, decode_recorder_;
  std::map<int64_t, PrefillPlans> prefill_plans_;  // by block size
  std::vector<Plan> decode_plans_;                 // by experiment
};

}  // namespace greta
