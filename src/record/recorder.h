#pragma once
// Record ops: tracing is an edit of the plan. An untraced plan has none of them and pays nothing.

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "bundle/event.h"
#include "engine/plan_edit.h"

namespace greta {

/// Takes what record ops see, in one phase of a run.
class Recorder {
 public:
  /// Called once per record, from one thread, with the recorded values (f32, in the event's shape). The event
  /// has no cell: that is the run's. What it throws ends the run (Executor::run throws it).
  using Sink = std::function<void(Event event, std::vector<float> values)>;

  struct Made {
    std::vector<float> values;
    std::string hash;
  };

  explicit Recorder(Sink sink, std::string phase = "") : sink_(std::move(sink)), phase_(std::move(phase)) {}

  void write(Event event, std::vector<float> values);

  /// From now on what is recorded is remembered, for made().
  void remember() { remembers_ = true; }
  /// A stage's rows as they were last recorded, since the run came to this layer (to the head: to the last
  /// layer); nullptr: not yet.
  const Made* made(At at) const;

 private:
  Sink sink_;
  std::string phase_;
  bool remembers_ = false;
  int layer_ = kNoLayer;
  std::map<At, Made> made_;
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
  bool operands = false;   // hash what each op reads, too (record/operands.h)
  bool next_slot = false;  // with kv_write, what the cache's slot after the last position holds: kKvNext
};

/// Inserts a record op after every stage in scope, and after what overwrites it. Fused ops of these layers
/// are taken apart. Of kv_write all cached positions are recorded. `recorder` must outlive the plan. Several
/// recorders may watch one plan.
void insert_records(PlanEdit& edit, Recorder& recorder, const RecordScope& scope);

}  // namespace greta
