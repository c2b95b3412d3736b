#include "engine/plan.h"

#include <algorithm>

namespace greta {
namespace {

/// Of a const or of a changeable op.
template <class AnyOp>
auto call_of(AnyOp& op) -> decltype(std::get_if<KernelCall>(&op.call)) {
  if (auto* kernel = std::get_if<KernelCall>(&op.call)) return kernel;
  if (auto* fused = std::get_if<FusedCall>(&op.call)) return &fused->call;
  if (auto* twin = std::get_if<TwinCall>(&op.call)) return &twin->right;
  return nullptr;
}

}  // namespace

const KernelCall* kernel_call(const Op& op) { return call_of(op); }

KernelCall* kernel_call(Op& op) { return call_of(op); }

Action* action_of(const Op& op) {
  if (const auto* twin = std::get_if<TwinCall>(&op.call)) return twin->action.get();
  if (const auto* own = std::get_if<ActionCall>(&op.call)) return own->action.get();
  return nullptr;
}

bool is_kind(const Op& op, OpKind kind) {
  const KernelCall* call = kernel_call(op);
  return call != nullptr && call->kernel->op == kind;
}

const Op* Plan::find(At at) const {
  const auto found = std::find_if(ops_.begin(), ops_.end(), [&](const Op& op) { return op.made() == at; });
  return found == ops_.end() ? nullptr : &*found;
}

}  // namespace greta
