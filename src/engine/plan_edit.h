#pragma once
// The one way to change a plan. Whatever an edit does, its end leaves a plan that runs.

#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "engine/plan.h"

namespace greta {

/// Has a plan's ops while it lives; the plan has none until then. An op that it hands out stays where it is
/// in memory, and keeps its id, until the edit ends or takes the op out. All ops get new ids at the end.
class PlanEdit {
 public:
  explicit PlanEdit(Plan& plan);
  ~PlanEdit() { commit(); }
  PlanEdit(const PlanEdit&) = delete;
  PlanEdit& operator=(const PlanEdit&) = delete;

  /// Gives the ops back, numbered anew, and decides before which the threads must meet: those that touch what
  /// another has written since the last meeting, or overwrite what another has read. Ends the edit.
  void commit();

  Phase phase() const { return plan_.phase; }
  BufferId logits() const { return plan_.logits; }
  const Buffer& buffer(BufferId id) const { return plan_.buffer(id); }
  BufferId add_buffer(Buffer buffer);

  /// In order. Ops may be inserted during a walk; those behind the walker are not met.
  std::list<Op>& ops() { return ops_; }
  /// The op that makes the stage, or nullptr.
  Op* find(At at);

  /// Each inserts `op` with an id of its own (whatever it has) and returns it.
  Op& append(Op op);
  /// Directly before, directly after.
  Op& before(const Op& place, Op op);
  Op& after(const Op& place, Op op);

  /// Lets `action` look at what `op` has made, after all that overwrite it, whether they come before or after
  /// this call: it reads the output (or the cache), and sees the op's Launch and parameters.
  Op& watch(const Op& op, std::shared_ptr<Action> action);

  /// Puts `twin` in the place of the op's kernel, or of the twin that is there.
  void replace(Op& op, std::shared_ptr<Action> twin);

  /// Takes out all ops that are not wanted.
  void keep_only(const std::function<bool(const Op& op)>& wanted);

  /// Takes fused ops apart of which a part makes a wanted stage, so that it can be seen or changed. Such as
  /// attention: qk, softmax, pv. The bits do not change.
  void unfuse(const std::function<bool(At made)>& wanted);
  void unfuse_all();

  /// Joins norms, activations and attention with the rounding of their output, where the device has kernels
  /// for it and nothing else reads it: the f32 rows are never stored. The bits do not change.
  void fuse_quantize();

  /// Gives the head (final norm, logits) every row of the block, where it has the last one only.
  void keep_all_rows();

 private:
  using Place = std::list<Op>::iterator;
  Place place_of(const Op& op) const { return places_[static_cast<size_t>(op.id)]; }
  Op& insert(Place before, Op op);
  const KernelInfo* rounding_kernel(Place place);
  bool only_next_reads(Place place);

  Plan& plan_;
  std::list<Op> ops_;
  std::vector<Place> places_;  // by id
  bool committed_ = false;
};

/// What looks at `seen`, to be inserted where it shall look; PlanEdit::watch() chooses the place itself.
Op onlooker(const Op& seen, std::shared_ptr<Action> action);

}  // namespace greta
