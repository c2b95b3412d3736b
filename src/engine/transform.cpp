#include "engine/transform.h"

#include "base/error.h"
#include "engine/kernel_table.h"

namespace greta {
namespace {

const KernelInfo& kernel_of(OpKind kind, Isa isa, Format output = Format::f32) {
  std::string why;
  const KernelInfo* kernel = find_kernel({.op = kind, .isa = isa, .activation = output}, &why);
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

/// The GEMM of the same device, route and weight type: the same bits, for any number of rows.
const KernelInfo& gemm_like(const KernelInfo& gemv) {
  std::string why;
  const KernelInfo* kernel = find_kernel({.op = OpKind::matmul,
                                          .isa = gemv.isa,
                                          .weight_type = gemv.weight_type,
                                          .route = gemv.route,
                                          .shape = Shape::gemm,
                                          .device = gemv.device},
                                         &why);
  if (kernel == nullptr) fail_machine("no GEMM in the place of {}: {}", gemv.name, why);
  return *kernel;
}

/// Whether the output of ops[index] is read by the op after it and by no other, until it is overwritten.
bool only_next_reads(const Plan& plan, size_t index) {
  const BufferId buffer = plan.ops[index].out;
  for (size_t i = index + 1; i < plan.ops.size(); ++i) {
    const Op& op = plan.ops[i];
    const bool reads = op.in[0] == buffer || op.in[1] == buffer || op.extra == buffer;
    if (reads != (i == index + 1)) return false;
    if (op.out == buffer) return true;
  }
  return buffer != plan.logits;
}

bool can_fuse_quantize(const Plan& plan, size_t index) {
  if (index + 1 >= plan.ops.size()) return false;
  const Op &op = plan.ops[index], &next = plan.ops[index + 1];
  const bool kind = op.kind == OpKind::rms_norm || op.kind == OpKind::silu_mul || op.kind == OpKind::gelu_mul;
  if (!kind || op.action || next.action || next.kind != OpKind::quantize || next.in[0] != op.out)
    return false;
  const auto cols = [&](BufferId id) { return plan.buffers[static_cast<size_t>(id)].cols; };
  if (op.kind == OpKind::rms_norm && cols(op.in[1]) != cols(op.in[0])) return false;  // by heads
  return next.kernel->roundings.output == Format::q8_block32 && only_next_reads(plan, index);
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

// Gate, up and activation are not fused. The activation is 7.7 % of a prefill (SmolLM2, one thread), and that
// is exp and a division: it moves 12 GB/s where cache gives 241, so fusing would save a twentieth at most.
void fuse_quantize(Plan& plan, Isa isa) {
  std::vector<Op> ops;
  for (size_t i = 0; i < plan.ops.size(); ++i) {
    ops.push_back(plan.ops[i]);
    if (!can_fuse_quantize(plan, i)) continue;
    Op& fused = ops.back();
    fused.parts = {plan.ops[i], plan.ops[i + 1]};
    fused.kernel = &kernel_of(fused.kind, isa, Format::q8_block32);
    fused.out = plan.ops[++i].out;
  }
  plan.ops = std::move(ops);
  set_barriers(plan);
}

void unfuse(Plan& plan) {
  std::vector<Op> ops;
  for (Op& op : plan.ops) {
    if (op.parts.empty()) {
      ops.push_back(std::move(op));
    } else {
      ops.insert(ops.end(), op.parts.begin(), op.parts.end());
    }
  }
  plan.ops = std::move(ops);
  set_barriers(plan);
}

void keep_all_rows(Plan& plan) {
  for (Op& op : plan.ops) {
    const bool one_row = op.kind == OpKind::matmul && op.kernel->shape == Shape::gemv && plan.max_rows > 1;
    if (one_row) op.kernel = &gemm_like(*op.kernel);
  }
  for (Buffer& buffer : plan.buffers) {
    if (buffer.rows == RowsOf::last) buffer.rows = RowsOf::block;
  }
}

}  // namespace greta
