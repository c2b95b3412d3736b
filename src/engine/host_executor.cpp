#include "engine/host_executor.h"

#include <algorithm>
#include <cstring>

#include "kernels/expert_matmul.h"

namespace greta {
namespace {

constexpr size_t kLine = 8;  // counters that share no cache line

/// What is not written is then the same in each run, and told from a race.
AlignedBytes zeros(int64_t size) {
  AlignedBytes bytes(size);
  std::memset(bytes.data(), 0, static_cast<size_t>(size));
  return bytes;
}

/// Of the op, for a thread.
int64_t scratch_floats(const Plan& plan, const Op& op, const Block& block) {
  if (!is_kind(op, OpKind::expert_matmul)) return attention_scratch_floats(block.n_pos());
  KernelArgs args;
  set_call(op, args);
  for (size_t i = 0; i < op.reads.size() && i < 2; ++i)
    args.in[i] = shape_of(plan.buffer(op.reads[i]), block);
  return expert_scratch_floats(args);
}

}  // namespace

void HostExecutor::reserve(const Plan& plan, const Block& block) {
  const std::vector<bool> touched = touched_buffers(plan);
  memory_.resize(std::max(memory_.size(), plan.buffers().size()));
  for (size_t i = 0; i < plan.buffers().size(); ++i) {
    const Buffer& buffer = plan.buffers()[i];
    if (buffer.constant != nullptr || !touched[i]) continue;
    const View shape = shape_of(buffer, block);
    if (memory_[i].size() < shape.stride * shape.rows) memory_[i] = zeros(shape.stride * shape.rows);
  }
  int64_t floats = attention_scratch_floats(block.n_pos());
  for (const Op& op : plan.ops()) {
    if (is_kind(op, OpKind::expert_matmul)) floats = std::max(floats, scratch_floats(plan, op, block));
  }
  const int64_t scratch = floats * 4 * pool().size();
  if (scratch_.size() < scratch) scratch_ = zeros(scratch);
}

View HostExecutor::view(const Plan& plan, BufferId id, const Block& block) {
  if (id == kNoBuffer) return {};
  const Buffer& buffer = plan.buffer(id);
  View view = shape_of(buffer, block);
  // A constant is read only: kernels never write to an input.
  view.data = buffer.constant != nullptr ? reinterpret_cast<std::byte*>(const_cast<float*>(buffer.constant))
                                         : memory_[static_cast<size_t>(id)].data();
  return view;
}

void HostExecutor::bind(const Plan& plan, const Block& block, KvCache& cache) {
  reserve(plan, block);
  const size_t count = plan.ops().size();
  args_.assign(count, {});
  launches_.assign(count, {});
  taken_.assign(count * kLine, 0);
  for (size_t i = 0; i < count; ++i) {
    const Op& op = plan.ops()[i];
    KernelArgs& args = args_[i];
    args.out = view(plan, op.writes, block);
    for (size_t j = 0; j < op.reads.size(); ++j)
      args.in[j] = as_input(plan, op, view(plan, op.reads[j], block));
    if (op.cache != CacheUse::none) args.cache = cache.layer(op.layer);
    args.position = block.position;
    args.block_rows = block.rows;
    const int64_t scratch = scratch_floats(plan, op, block);
    args.scratch = {scratch_.data(), pool().size(), scratch, scratch * 4, Format::f32};
    args.taken = &taken_[i * kLine];
    args.launch = &launches_[i];
    if (const ActionCall* action = set_call(op, args); action != nullptr && action->watches)
      args.launch = &launches_[static_cast<size_t>(*action->watches)];
  }
}

std::span<const float> HostExecutor::run(const Plan& plan, std::span<const int32_t> tokens, int64_t position,
                                         KvCache& cache) {
  const Block block{std::ssize(tokens), position};
  check_block(plan, block, cache.capacity());
  bind(plan, block, cache);
  const View ids = view(plan, plan.tokens, block);
  for (int64_t i = 0; i < block.rows; ++i) std::memcpy(ids.raw_row(i), &tokens[static_cast<size_t>(i)], 4);

  pool().run([&](Part part) {
    for (size_t i = 0; i < args_.size(); ++i) {
      const Op& op = plan.ops()[i];
      if (op.sync) pool().barrier();
      if (Action* action = action_of(op)) {
        action->run(args_[i], part);
      } else {
        args_[i].kernel->run(args_[i], part);
      }
    }
  });
  cache.set_length(block.n_pos());
  if (plan.logits == kNoBuffer) return {};
  const View logits = view(plan, plan.logits, block);
  return {logits.row(0), static_cast<size_t>(logits.cols)};
}

void HostExecutor::fill_buffers(float value) {
  const auto fill = [value](AlignedBytes& bytes) {
    std::fill_n(reinterpret_cast<float*>(bytes.data()), bytes.size() / 4, value);
  };
  for (AlignedBytes& bytes : memory_) fill(bytes);
  fill(scratch_);
}

}  // namespace greta
