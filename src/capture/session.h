#pragma once
// What becomes of one process: which of its graphs are recorded, under which prompt and phase.

#include <sys/types.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "capture/cache_positions.h"
#include "capture/graph_recorder.h"
#include "capture/settings.h"
#include "capture/trace_writer.h"

namespace greta::capture {

class Session {
 public:
  explicit Session(Settings settings);

  /// A scheduler is about to compute a graph. True: node() wants to be asked.
  bool begin(void* sched, void* graph);
  /// Of a node: whether its values are wanted; and once they are there.
  bool wants(const void* node) const;
  void computed(const void* node);
  /// `whole`: the graph ran to its end.
  void end(void* sched, bool whole);

  /// Graphs until the next call are of this phase of this prompt; with no phase they are not recorded.
  void name_phase(const std::string& prompt, const std::string& phase);
  void pause(bool paused) { paused_ = paused; }

 private:
  /// Where a graph's rows belong.
  struct Target {
    std::string prompt, phase;
  };

  bool claim();
  bool find_ggml();
  void leave_out_other_layers();
  /// One line for the terminal, once; and for who started this.
  void say(const std::string& note);
  void say_unknown_layers();
  void log(const std::string& line);
  void log_digest(void* sched);
  /// Under what the graph is recorded, if it is.
  std::optional<Target> target_of(void* sched);
  std::optional<Target> own_target();
  void write();
  void describe_engine();

  Settings settings_;
  bool claimed_ = false;
  bool blind_ = false;  // nothing can be seen here
  bool off_ = false;    // nothing more is recorded
  bool paused_ = false;
  std::optional<Target> named_;
  std::set<std::string> said_;
  std::optional<Ggml> ggml_;
  void* sched_ = nullptr;  // whose model is recorded
  int graphs_ = 0, chunks_ = 0, steps_ = 0;
  pid_t process_;

  GraphMap map_;
  Batch batch_;
  std::vector<int64_t> graph_tokens_;  // of all rows of the graph
  std::unique_ptr<GraphRecorder> recorder_;
  std::optional<Target> target_;
  CachePositions caches_;
  SeenRows seen_;
  bool untold_caches_ = false;
  std::vector<int64_t> tokens_;  // by position, of the prompt that runs now
  Manifest manifest_;
  TraceWriter writer_;
};

}  // namespace greta::capture
