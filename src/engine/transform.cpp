#include "engine/transform.h"

#include "base/error.h"

namespace greta {
namespace {

const KernelInfo& kernel_of(OpKind kind, Isa isa) {
  std::string why;
  const KernelInfo* kernel = find_kernel({.op = kind, .isa = isa}, &why);
  if (kernel == nullptr) fail_machine("no kernel for {}: {}", name(kind), why);
  return *kernel;
}

BufferId scores_buffer(Plan& plan, const char* name, int64_t n_head) {
  for (size_t i = 0; i < plan.buffers.size(); ++i) {
    if (plan.buffers[i].name == name) return static_cast<BufferId>(i);
  }
  plan.buffers.push_back({name, n_head, Format::f32, RowsOf::scores, nullptr});
  return static_cast<BufferId>(plan.buffers.size()) - 1;
}

}  // namespace

void insert_before(Plan& plan, size_t index, Op op) {
  op.id = plan.next_id++;
  if (op.launch_of < 0) op.launch_of = op.id;
  plan.ops.insert(plan.ops.begin() + static_cast<std::ptrdiff_t>(index), std::move(op));
  set_barriers(plan);
}

void insert_after(Plan& plan, size_t index, Op op) { insert_before(plan, index + 1, std::move(op)); }

void replace_kernel(Plan& plan, size_t index, std::shared_ptr<Action> twin) {
  plan.ops[index].action = std::move(twin);
  set_barriers(plan);
}

void unfuse_attention(Plan& plan, Isa isa, const std::function<bool(int layer)>& wanted) {
  std::vector<Op> ops;
  for (Op& op : plan.ops) {
    if (op.kind != OpKind::attention || op.action || !wanted(op.layer)) {
      ops.push_back(std::move(op));
      continue;
    }
    const BufferId scores = scores_buffer(plan, "qk", op.params.n_head);
    const BufferId weights = scores_buffer(plan, "softmax", op.params.n_head);
    const auto part = [&](OpKind kind, Stage stage, BufferId in, BufferId out) {
      Op piece = op;
      piece.id = piece.launch_of = plan.next_id++;
      piece.kind = kind;
      piece.stage = stage;
      piece.kernel = &kernel_of(kind, isa);
      piece.in = {in, kNoBuffer};
      piece.out = out;
      piece.uses_cache = kind != OpKind::softmax;
      ops.push_back(std::move(piece));
    };
    part(OpKind::qk, Stage::qk, op.in[0], scores);
    part(OpKind::softmax, Stage::softmax, scores, weights);
    part(OpKind::pv, Stage::pv, weights, op.out);
  }
  plan.ops = std::move(ops);
  set_barriers(plan);
}

void keep_all_rows(Plan& plan) {
  for (Buffer& buffer : plan.buffers) {
    if (buffer.rows == RowsOf::last) buffer.rows = RowsOf::block;
  }
}

}  // namespace greta
