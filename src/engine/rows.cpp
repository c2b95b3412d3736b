#include "engine/rows.h"

#include "base/error.h"

namespace greta {
namespace {

int64_t row_stride(const Buffer& buffer, int64_t n_pos) {
  if (buffer.rows == RowsOf::scores) return round_up(n_pos, 16) * 4;
  if (buffer.format == Format::f32 || buffer.format == Format::i32) return round_up(buffer.cols * 4, 64);
  return activation_row_bytes(buffer.format, buffer.cols);
}

int64_t row_count(const Buffer& buffer, int64_t rows) {
  switch (buffer.rows) {
    case RowsOf::block: return rows;
    case RowsOf::last: return 1;
    case RowsOf::scores: return rows * buffer.cols;  // cols holds n_head
    case RowsOf::constant: return 1;
  }
  return 0;
}

}  // namespace

View shape_of(const Buffer& buffer, const Block& block) {
  return {.rows = row_count(buffer, block.rows),
          .cols = buffer.rows == RowsOf::scores ? block.n_pos() : buffer.cols,
          .stride = row_stride(buffer, block.n_pos()),
          .format = buffer.format};
}

View as_input(const Plan& plan, const Op& op, View in) {
  const bool makes_one = op.writes != kNoBuffer && plan.buffer(op.writes).rows == RowsOf::last;
  if (makes_one && in.rows > 1) {
    in.data += (in.rows - 1) * in.stride;
    in.rows = 1;
  }
  return in;
}

std::vector<bool> touched_buffers(const Plan& plan) {
  std::vector<bool> touched(plan.buffers().size());
  touched[static_cast<size_t>(plan.tokens)] = true;
  for (const Op& op : plan.ops()) {
    for (const BufferId id : op.reads) touched[static_cast<size_t>(id)] = true;
    if (op.writes != kNoBuffer) touched[static_cast<size_t>(op.writes)] = true;
  }
  return touched;
}

const ActionCall* set_call(const Op& op, KernelArgs& args) {
  if (const KernelCall* call = kernel_call(op)) {
    args.kernel = call->kernel;
    args.weight = call->weight;
    args.bias = call->bias;
    args.params = call->params;
    return nullptr;
  }
  const ActionCall& action = std::get<ActionCall>(op.call);
  args.params = action.params;
  return &action;
}

void check_block(const Plan& plan, const Block& block, int64_t capacity) {
  if (block.rows < 1 || block.rows > plan.max_rows)
    fail_machine("a block of {} tokens for a plan of up to {}", block.rows, plan.max_rows);
  if (block.n_pos() > capacity)
    fail_input("{} positions do not fit the KV cache of {}", block.n_pos(), capacity);
}

}  // namespace greta
