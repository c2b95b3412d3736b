#include "engine/executor.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"

namespace greta {
namespace {

constexpr size_t kLine = 8;  // counters that share no cache line

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

/// Memory for the buffers that some op reads or writes: a fused op needs none for what lies between its parts.
void Executor::reserve(const Plan& plan, int64_t rows, int64_t n_pos) {
  std::vector<bool> touched(plan.buffers().size());
  touched[static_cast<size_t>(plan.tokens)] = true;
  for (const Op& op : plan.ops()) {
    for (const BufferId id : op.reads) touched[static_cast<size_t>(id)] = true;
    if (op.writes != kNoBuffer) touched[static_cast<size_t>(op.writes)] = true;
  }
  memory_.resize(std::max(memory_.size(), plan.buffers().size()));
  for (size_t i = 0; i < plan.buffers().size(); ++i) {
    const Buffer& buffer = plan.buffers()[i];
    if (buffer.constant != nullptr || !touched[i]) continue;
    const int64_t bytes = row_stride(buffer, n_pos) * row_count(buffer, rows);
    if (memory_[i].size() < bytes) memory_[i] = AlignedBytes(bytes);
  }
  const int64_t scratch = attention_scratch_floats(n_pos) * 4 * pool_.size();
  if (scratch_.size() < scratch) scratch_ = AlignedBytes(scratch);
}

View Executor::view(const Plan& plan, BufferId id, int64_t rows, int64_t n_pos) {
  if (id == kNoBuffer) return {};
  const Buffer& buffer = plan.buffer(id);
  View view;
  // A constant is read only: kernels never write to an input.
  view.data = buffer.constant != nullptr ? reinterpret_cast<std::byte*>(const_cast<float*>(buffer.constant))
                                         : memory_[static_cast<size_t>(id)].data();
  view.rows = row_count(buffer, rows);
  view.cols = buffer.rows == RowsOf::scores ? n_pos : buffer.cols;
  view.stride = row_stride(buffer, n_pos);
  view.format = buffer.format;
  return view;
}

/// What `op` reads of `id`. An op that makes one row from a block reads the block's last one.
View Executor::input(const Plan& plan, const Op& op, BufferId id, int64_t rows, int64_t n_pos) {
  View in = view(plan, id, rows, n_pos);
  const bool makes_one = op.writes != kNoBuffer && plan.buffer(op.writes).rows == RowsOf::last;
  if (makes_one && in.rows > 1) {
    in.data += (in.rows - 1) * in.stride;
    in.rows = 1;
  }
  return in;
}

void Executor::bind(const Plan& plan, int64_t rows, int64_t position, KvCache& cache) {
  const int64_t n_pos = position + rows;
  reserve(plan, rows, n_pos);
  const size_t count = plan.ops().size();
  args_.assign(count, {});
  launches_.assign(count, {});
  taken_.assign(count * kLine, 0);
  for (size_t i = 0; i < count; ++i) {
    const Op& op = plan.ops()[i];
    KernelArgs& args = args_[i];
    args.out = view(plan, op.writes, rows, n_pos);
    for (size_t j = 0; j < op.reads.size(); ++j) args.in[j] = input(plan, op, op.reads[j], rows, n_pos);
    if (op.cache != CacheUse::none) args.cache = cache.layer(op.layer);
    args.position = position;
    args.block_rows = rows;
    const int64_t scratch = attention_scratch_floats(n_pos);
    args.scratch = {scratch_.data(), pool_.size(), scratch, scratch * 4, Format::f32};
    args.taken = &taken_[i * kLine];
    args.launch = &launches_[i];
    if (const KernelCall* call = kernel_call(op)) {
      args.kernel = call->kernel;
      args.weight = call->weight;
      args.bias = call->bias;
      args.params = call->params;
    } else {
      const ActionCall& action = std::get<ActionCall>(op.call);
      args.params = action.params;
      if (action.watches) args.launch = &launches_[static_cast<size_t>(*action.watches)];
    }
  }
}

std::span<const float> Executor::run(const Plan& plan, std::span<const int32_t> tokens, int64_t position,
                                     KvCache& cache) {
  const int64_t rows = static_cast<int64_t>(tokens.size());
  if (rows < 1 || rows > plan.max_rows)
    fail_machine("a block of {} tokens for a plan of up to {}", rows, plan.max_rows);
  if (position + rows > cache.capacity()) {
    fail_input("{} positions do not fit the KV cache of {}", position + rows, cache.capacity());
  }
  bind(plan, rows, position, cache);
  const View ids = view(plan, plan.tokens, rows, position + rows);
  for (int64_t i = 0; i < rows; ++i) std::memcpy(ids.raw_row(i), &tokens[static_cast<size_t>(i)], 4);

  pool_.run([&](Part part) {
    for (size_t i = 0; i < args_.size(); ++i) {
      const Op& op = plan.ops()[i];
      if (op.sync) pool_.barrier();
      if (Action* action = action_of(op)) {
        action->run(args_[i], part);
      } else {
        args_[i].kernel->run(args_[i], part);
      }
    }
  });
  cache.set_length(position + rows);
  if (plan.logits == kNoBuffer) return {};
  const View logits = view(plan, plan.logits, rows, position + rows);
  return {logits.row(0), static_cast<size_t>(logits.cols)};
}

void Executor::fill_buffers(float value) {
  const auto fill = [value](AlignedBytes& bytes) {
    std::fill_n(reinterpret_cast<float*>(bytes.data()), bytes.size() / 4, value);
  };
  for (AlignedBytes& bytes : memory_) fill(bytes);
  fill(scratch_);
}

}  // namespace greta
