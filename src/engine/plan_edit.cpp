#include "engine/plan_edit.h"

#include <algorithm>
#include <atomic>
#include <set>
#include <utility>

#include "base/error.h"
#include "engine/kernel_table.h"
#include "kernels/gpu/shapes.h"

namespace greta {
namespace {

constexpr BufferId kCache = -2;  // the KV cache, as one more thing that ops touch

/// What has been read and written since the threads last met.
class Hazards {
 public:
  bool conflict(const Op& op) const {
    const auto touched = [this](BufferId id) { return written_.contains(id) || read_.contains(id); };
    return std::any_of(op.reads.begin(), op.reads.end(),
                       [this](BufferId id) { return written_.contains(id); }) ||
           touched(op.writes) || (op.cache == CacheUse::reads && written_.contains(kCache)) ||
           (op.cache == CacheUse::writes && touched(kCache));
  }

  void note(const Op& op) {
    read_.insert(op.reads.begin(), op.reads.end());
    if (op.writes != kNoBuffer) written_.insert(op.writes);
    if (op.cache == CacheUse::reads) read_.insert(kCache);
    if (op.cache == CacheUse::writes) written_.insert(kCache);
  }

  void clear() {
    read_.clear();
    written_.clear();
  }

 private:
  std::set<BufferId> read_, written_;
};

void set_barriers(std::vector<Op>& ops) {
  Hazards hazards;
  for (Op& op : ops) {
    // An action may touch what it does not declare (a record reads the producer's launch): always meet.
    op.sync = action_of(op) != nullptr || hazards.conflict(op);
    if (op.sync) hazards.clear();
    hazards.note(op);
  }
  if (!ops.empty()) ops.front().sync = false;
}

/// Whether `op` is an action that writes anew what `made` has made.
bool overwrites(const Op& op, const Op& made) {
  if (!std::holds_alternative<ActionCall>(op.call)) return false;
  if (made.writes != kNoBuffer) return op.writes == made.writes;
  return made.cache == CacheUse::writes && op.cache == CacheUse::writes && op.layer == made.layer;
}

/// Whether attention's heads are whole blocks, and fit what its kernels hold of one.
bool rounds_heads(int64_t head_dim) { return head_dim % kBlock == 0 && head_dim <= gpu::kMostHeadDim; }

/// The GEMM of the same device, route and weight type: the same bits, for any number of rows.
const KernelInfo& gemm_like(const KernelInfo& gemv) {
  return require_kernel({.op = OpKind::matmul,
                         .isa = gemv.isa,
                         .weight_type = gemv.weight_type,
                         .route = gemv.route,
                         .shape = Shape::gemm,
                         .device = gemv.device},
                        "no GEMM in the place of " + gemv.name);
}

}  // namespace

PlanEdit::PlanEdit(Plan& plan) : plan_(plan) {
  for (Op& op : plan.ops_) append(std::move(op));
  plan.ops_.clear();
}

void PlanEdit::commit() {
  if (std::exchange(committed_, true)) return;
  std::vector<std::optional<int>> ids(places_.size());  // new by old
  int next = 0;
  for (Op& op : ops_) ids[static_cast<size_t>(op.id)] = next++;
  for (Op& op : ops_) {
    op.id = *ids[static_cast<size_t>(op.id)];
    auto* action = std::get_if<ActionCall>(&op.call);
    if (action != nullptr && action->watches) action->watches = ids[static_cast<size_t>(*action->watches)];
  }
  plan_.ops_.assign(std::move_iterator(ops_.begin()), std::move_iterator(ops_.end()));
  set_barriers(plan_.ops_);
  static std::atomic<uint64_t> edits{0};
  plan_.id_ = ++edits;
}

BufferId PlanEdit::add_buffer(Buffer buffer) {
  plan_.buffers_.push_back(std::move(buffer));
  return static_cast<BufferId>(plan_.buffers_.size()) - 1;
}

Op* PlanEdit::find(At at) {
  const auto found = std::find_if(ops_.begin(), ops_.end(), [&](const Op& op) { return op.made() == at; });
  return found == ops_.end() ? nullptr : &*found;
}

Op& PlanEdit::insert(Place before, Op op) {
  op.id = static_cast<int>(places_.size());
  return *places_.emplace_back(ops_.insert(before, std::move(op)));
}

Op& PlanEdit::append(Op op) { return insert(ops_.end(), std::move(op)); }

Op& PlanEdit::before(const Op& place, Op op) { return insert(place_of(place), std::move(op)); }

Op& PlanEdit::after(const Op& place, Op op) { return insert(std::next(place_of(place)), std::move(op)); }

Op onlooker(const Op& seen, std::shared_ptr<Action> action) {
  ActionCall call{std::move(action), seen.id};
  if (const KernelCall* kernel = kernel_call(seen)) call.params = kernel->params;
  Op op{.layer = seen.layer, .call = std::move(call)};
  if (seen.writes != kNoBuffer) op.reads = {seen.writes};
  if (seen.cache != CacheUse::none) op.cache = CacheUse::reads;
  return op;
}

Op& PlanEdit::watch(const Op& op, std::shared_ptr<Action> action) {
  Place place = std::next(place_of(op));
  while (place != ops_.end() && overwrites(*place, op)) ++place;
  return insert(place, onlooker(op, std::move(action)));
}

void PlanEdit::replace(Op& op, std::shared_ptr<Action> twin) {
  op.call = TwinCall{*kernel_call(op), std::move(twin)};
}

void PlanEdit::keep_only(const std::function<bool(const Op& op)>& wanted) {
  ops_.remove_if([&](const Op& op) { return !wanted(op); });
}

void PlanEdit::unfuse(const std::function<bool(At made)>& wanted) {
  for (Place place = ops_.begin(); place != ops_.end();) {
    const Place next = std::next(place);
    auto* fused = std::get_if<FusedCall>(&place->call);
    const auto hides = [&](const Op& part) { return part.makes && wanted(*part.made()); };
    if (fused != nullptr && std::any_of(fused->parts.begin(), fused->parts.end(), hides)) {
      const Op whole = std::move(*place);
      for (const Op& part : std::get<FusedCall>(whole.call).parts) {
        Op& put = insert(place, part);
        if (put.makes != whole.makes) continue;
        put.id = whole.id;  // what watches the whole watches this part now
        places_[static_cast<size_t>(put.id)] = std::prev(place);
      }
      ops_.erase(place);
    }
    place = next;
  }
}

void PlanEdit::unfuse_all() {
  unfuse([](At) { return true; });
}

/// Whether the op's output is read by the op after it and by no other, until it is overwritten.
bool PlanEdit::only_next_reads(Place place) {
  const BufferId buffer = place->writes;
  const Place next = std::next(place);
  for (Place it = next; it != ops_.end(); ++it) {
    const bool reads = std::find(it->reads.begin(), it->reads.end(), buffer) != it->reads.end();
    if (reads != (it == next)) return false;
    if (it->writes == buffer) return true;
  }
  return buffer != plan_.logits;
}

/// The kernel that does the op and the rounding of what it makes behind it; nullptr where there is none or
/// somebody else reads what is not rounded.
const KernelInfo* PlanEdit::rounding_kernel(Place place) {
  const Place next = std::next(place);
  if (next == ops_.end() || action_of(*place) != nullptr || action_of(*next) != nullptr) return nullptr;
  const KernelCall &call = *kernel_call(*place), &rounding = *kernel_call(*next);
  const Format format = rounding.kernel->roundings.output;
  if (rounding.kernel->op != OpKind::quantize || next->reads[0] != place->writes) return nullptr;
  if (is_matmul(call.kernel->op)) return nullptr;
  if (call.kernel->op == OpKind::rms_norm && buffer(place->reads[1]).cols != buffer(place->reads[0]).cols)
    return nullptr;  // by heads
  if (call.kernel->op == OpKind::attention && !rounds_heads(call.params.head_dim)) return nullptr;
  if (!only_next_reads(place)) return nullptr;
  std::string why;
  return find_kernel({.op = call.kernel->op,
                      .isa = call.kernel->isa,
                      .weight_type = call.kernel->weight_type,
                      .activation = format,
                      .device = call.kernel->device},
                     &why);
}

// Gate, up and activation are not fused. The activation is 7.7 % of a prefill (SmolLM2, one thread), and that
// is exp and a division: it moves 12 GB/s where cache gives 241, so fusing would save a twentieth at most.
void PlanEdit::fuse_quantize() {
  for (Place place = ops_.begin(); place != ops_.end(); ++place) {
    const KernelInfo* kernel = rounding_kernel(place);
    if (kernel == nullptr) continue;
    const Place rounding = std::next(place);
    KernelCall call = *kernel_call(*place);
    call.kernel = kernel;
    std::vector<Op> parts{*place};
    if (const auto* fused = std::get_if<FusedCall>(&place->call)) parts = fused->parts;
    parts.push_back(*rounding);
    place->call = FusedCall{std::move(call), std::move(parts)};
    place->writes = rounding->writes;
    ops_.erase(rounding);
  }
}

void PlanEdit::keep_all_rows() {
  for (Op& op : ops_) {
    KernelCall* call = kernel_call(op);
    const bool one_row = is_kind(op, OpKind::matmul) && call->kernel->shape == Shape::gemv;
    if (one_row && plan_.max_rows > 1) call->kernel = &gemm_like(*call->kernel);
  }
  for (Buffer& buffer : plan_.buffers_) {
    if (buffer.rows == RowsOf::last) buffer.rows = RowsOf::block;
  }
}

}  // namespace greta
