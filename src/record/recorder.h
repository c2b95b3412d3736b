#pragma once
// Record ops: tracing is an edit of the plan. An untraced plan has none of them and pays nothing.

#include <functional>
#include <span>
#include <string>

#include "bundle/event.h"
#include "engine/plan_edit.h"

namespace greta {

/// Takes what record ops see. One recorder serves the plans of a cell, one run after the other.
class Recorder {
 public:
  /// Called once per event, from one thread, with the recorded values (f32, in the event's shape); may throw.
  using Sink = std::function<void(Event event, std::span<const float> values)>;

  explicit Recorder(Sink sink) : sink_(std::move(sink)) {}

  /// What the events of the next run are labelled with.
  void begin(std::string experiment, std::string prompt_id, std::string phase);

  /// What the sink throws ends the run (Executor::run throws it).
  void write(Event event, std::span<const float> values);

 private:
  Sink sink_;
  std::string experiment_, prompt_id_, phase_;
};

/// Which stages and rows a recorder sees.
struct RecordScope {
  std::function<bool(int layer)> layers;  // kNoLayer: final_norm, logits
  std::function<bool(Stage)> stages = [](Stage) { return true; };
  /// Positions wanted of a run that ends at n_pos - 1, ascending;
  /// those of its block are recorded. By default the last one.
  std::function<std::vector<int64_t>(Stage stage, int64_t n_pos)> rows = [](Stage, int64_t n_pos) {
    return std::vector<int64_t>{n_pos - 1};
  };
};

/// Inserts a record op after every stage in scope, and after what overwrites it. Fused ops of these layers are
/// taken apart. Of kv_write all cached positions are recorded. `recorder` must outlive the plan. Several
/// recorders may watch one plan.
void insert_records(PlanEdit& edit, Recorder& recorder, const RecordScope& scope);

}  // namespace greta
