#pragma once
// The plan is the program: a flat list of ops. Forcing a route, tracing, an intervention and a fault are
// transformations of this list (engine/transform.h), never an `if` in a kernel or in the executor's loop.

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/route.h"
#include "kernels/kernel.h"
#include "model/stage.h"

namespace greta {

/// An op that is no kernel of the table: a record, an intervention, a faulty twin.
/// Runs on all threads, as kernels do.
class Action {
 public:
  virtual ~Action() = default;
  /// Shown by `greta plan`.
  virtual std::string label() const = 0;
  /// What it throws ends the run.
  virtual void run(const KernelArgs& args, Part part) = 0;
};

using BufferId = int;
inline constexpr BufferId kNoBuffer = -1;

/// How many rows a buffer has for a block of S tokens.
enum class RowsOf {
  block,     // S
  last,      // 1: the block's last row
  scores,    // S * n_head rows of n_pos columns
  constant,  // rows that belong to the model, such as a norm's weight
};

struct Buffer {
  std::string name;
  int64_t cols = 0;
  Format format = Format::f32;
  RowsOf rows = RowsOf::block;
  const float* constant = nullptr;
};

struct Op {
  int id = 0;  // stays with the op through transformations
  OpKind kind = OpKind::add;
  std::optional<Stage> stage;  // what the op's output is; none for helpers such as quantize
  int layer = kNoLayer;
  const KernelInfo* kernel = nullptr;  // nullptr for an action
  std::shared_ptr<Action> action;      // runs in the kernel's place
  std::array<BufferId, 2> in{kNoBuffer, kNoBuffer};
  BufferId extra = kNoBuffer;  // read by an action only: kernels have no third input
  BufferId out = kNoBuffer;
  const PackedWeight* weight = nullptr;
  std::string weight_name;
  const float* bias = nullptr;  // of a projection; or none
  bool uses_cache = false;
  OpParams params;
  int launch_of = -1;          // the op whose Launch this one sees: its own, or (a record) the producer's
  bool sync = true;            // wait for all threads before it; computed by set_barriers()
  std::vector<Op> parts = {};  // of a fused op: those that it stands for
};

struct Plan {
  Phase phase = Phase::prefill;
  int64_t max_rows = 1;  // the largest S that it can run
  std::vector<Buffer> buffers;
  std::vector<Op> ops;
  BufferId tokens = kNoBuffer;  // the input
  BufferId logits = kNoBuffer;  // the output; kNoBuffer in a plan that only fills the cache
  int next_id = 0;

  /// Index of the op that makes the stage, or -1.
  int find(Stage stage, int layer) const;
};

/// Decides before which ops the threads must meet: those that touch what another op has written since the
/// last meeting, or overwrite what another has read. Every transformation ends with it.
void set_barriers(Plan& plan);

}  // namespace greta
