#pragma once
// The plan is the program: a flat list of ops. Forcing a route, tracing, an intervention and a fault are
// edits of this list (engine/plan_edit.h), never an `if` in a kernel or in the executor's loop.

#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "engine/route.h"
#include "kernels/kernel.h"
#include "model/stage.h"

namespace greta {

/// What is no kernel of the table: a record, an intervention, a faulty twin.
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

/// A kernel, and what it needs besides rows.
struct KernelCall {
  const KernelInfo* kernel = nullptr;    // never null in a plan
  const PackedWeight* weight = nullptr;  // of a projection and of embed
  std::string weight_name = {};
  const float* bias = nullptr;  // of a projection; sinks of softmax and attention; or none
  OpParams params = {};
};

struct Op;

/// One kernel for what several ops would do, with the same bits: PlanEdit::unfuse() puts the ops back.
struct FusedCall {
  KernelCall call;
  std::vector<Op> parts;
};

/// An action in the place of a kernel, with all that the kernel would have got: a faulty twin, a clock.
struct TwinCall {
  KernelCall right;  // what it stands for
  std::shared_ptr<Action> action;
};

/// An action of its own: a record, an intervention.
struct ActionCall {
  std::shared_ptr<Action> action;
  std::optional<int> watches = {};  // the op whose Launch it sees in the place of its own
  OpParams params = {};             // of that op
};

enum class CacheUse { none, reads, writes };

struct Op {
  int id = 0;  // its place in the plan's list, or in the order in which a PlanEdit got its ops
  int layer = kNoLayer;
  std::optional<Stage> makes = {};  // what its output is; none: a helper, such as quantize, or an onlooker
  std::variant<KernelCall, FusedCall, TwinCall, ActionCall> call = {};
  std::vector<BufferId> reads = {};  // at most kMaxInputs; a kernel's own inputs come first
  BufferId writes = kNoBuffer;
  CacheUse cache = CacheUse::none;  // of its layer
  bool sync = true;                 // wait for all threads before it; set by PlanEdit

  std::optional<At> made() const { return makes ? std::optional(At{layer, *makes}) : std::nullopt; }
};

/// The kernel that the op runs, or that its twin stands for; nullptr for an action of its own.
const KernelCall* kernel_call(const Op& op);
KernelCall* kernel_call(Op& op);

/// What runs in the place of a kernel or on its own; nullptr where a kernel runs.
Action* action_of(const Op& op);

/// Whether the op's kernel, or the one that its twin stands for, is of this kind.
bool is_kind(const Op& op, OpKind kind);

/// Only PlanEdit changes ops and buffers.
class Plan {
 public:
  Phase phase = Phase::prefill;
  int64_t max_rows = 1;         // the largest S that it can run
  BufferId tokens = kNoBuffer;  // the input
  BufferId logits = kNoBuffer;  // the output; kNoBuffer in a plan that only fills the cache

  const std::vector<Op>& ops() const { return ops_; }
  const std::vector<Buffer>& buffers() const { return buffers_; }
  const Buffer& buffer(BufferId id) const { return buffers_[static_cast<size_t>(id)]; }

  /// The op that makes the stage, or nullptr.
  const Op* find(At at) const;

  /// The same for a plan and its copies, until they are edited.
  uint64_t id() const { return id_; }

 private:
  friend class PlanEdit;

  uint64_t id_ = 0;

  std::vector<Op> ops_;
  std::vector<Buffer> buffers_;
};

}  // namespace greta
