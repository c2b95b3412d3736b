#include "engine/stream_executor.h"

#include <algorithm>
#include <cstring>

#include "engine/kernel_table.h"
#include "kernels/gpu/shapes.h"

namespace greta {
namespace {

constexpr int64_t kStampBytes = sizeof(gpu::Stamp);

template <class T>
T* moved(DeviceStore& store, const T* host, int64_t count) {
  if (host == nullptr) return nullptr;
  // Constant on the device, too: kernels never write to an input.
  return reinterpret_cast<T*>(
      const_cast<std::byte*>(store.constant(host, count * static_cast<int64_t>(sizeof(T)))));
}

/// Somebody looks between its ops.
bool has_actions(const Plan& plan) {
  return std::any_of(plan.ops().begin(), plan.ops().end(),
                     [](const Op& op) { return action_of(op) != nullptr; });
}

/// A step whose attention is divided, where a window does not make it short.
bool is_far(const Block& block) { return block.rows == 1 && block.n_pos() > gpu::AttentionSplit::kShort; }

}  // namespace

void StreamExecutor::reserve(const Plan& plan, const Block& block) {
  const std::vector<bool> touched = touched_buffers(plan);
  memory_.resize(std::max(memory_.size(), plan.buffers().size()));
  for (size_t i = 0; i < plan.buffers().size(); ++i) {
    const Buffer& buffer = plan.buffers()[i];
    if (buffer.constant != nullptr || !touched[i]) continue;
    const View shape = shape_of(buffer, block);
    if (memory_[i].size() >= shape.stride * shape.rows) continue;
    memory_[i] = {};  // before the larger one
    memory_[i] = Mirror(shape.stride * shape.rows, &store_.device());
    ++memory_made_;
  }
  if (has_actions(plan)) {
    const int64_t stamps = std::ssize(plan.ops()) * kStampBytes;
    if (stamps_.size() < stamps) stamps_ = gpu::DeviceBytes(store_.device(), stamps);
    store_.device().fill(stamps_.data(), 0xff, stamps);
  }
  if (position_.size() == 0) position_ = gpu::DeviceBytes(store_.device(), sizeof(int64_t));
  launches_.assign(plan.ops().size(), {});
}

View StreamExecutor::device_view(const Plan& plan, BufferId id, const Block& block, bool writes) {
  if (id == kNoBuffer) return {};
  const Buffer& buffer = plan.buffer(id);
  View view = shape_of(buffer, block);
  Mirror& memory = memory_[static_cast<size_t>(id)];
  if (buffer.constant != nullptr) {
    view.data = reinterpret_cast<std::byte*>(moved(store_, buffer.constant, buffer.cols));
  } else {
    view.data = writes ? memory.write_device() : const_cast<std::byte*>(memory.read_device());
  }
  return view;
}

View StreamExecutor::host_view(const Plan& plan, BufferId id, const Block& block, bool writes) {
  if (id == kNoBuffer) return {};
  const Buffer& buffer = plan.buffer(id);
  View view = shape_of(buffer, block);
  Mirror& memory = memory_[static_cast<size_t>(id)];
  if (buffer.constant != nullptr) {
    view.data = reinterpret_cast<std::byte*>(const_cast<float*>(buffer.constant));
  } else {
    view.data = writes ? memory.write_host() : const_cast<std::byte*>(memory.read_host());
  }
  return view;
}

void StreamExecutor::reserve_scratch(const KernelArgs& attention) {
  gpu::Device& device = store_.device();
  const int64_t bytes = gpu::attention_scratch_bytes(attention.in[0].rows, attention.params.n_head,
                                                     attention.cache, device.chip());
  if (scores_.size() >= bytes) return;
  device.wait();  // for kernels that use what there is
  scores_ = {};   // before the larger one
  scores_ = gpu::DeviceBytes(device, bytes);
  ++memory_made_;
}

gpu::Args StreamExecutor::args_for(const Plan& plan, const Op& op, const Block& block, KvCache& cache) {
  KernelArgs args;
  args.out = device_view(plan, op.writes, block, true);
  for (size_t j = 0; j < op.reads.size(); ++j)
    args.in[j] = as_input(plan, op, device_view(plan, op.reads[j], block, false));
  if (op.cache != CacheUse::none) args.cache = cache.device_layer(op.layer, op.cache == CacheUse::writes);
  set_call(op, args);
  const std::byte* panels = nullptr;
  if (args.weight != nullptr) {
    panels = store_.panels(*args.weight);
    args.bias = moved(store_, args.bias, args.weight->panels() * kPanelRows);
  }
  args.params.rope_turns = moved(store_, args.params.rope_turns, args.params.rope_dims);
  if (is_kind(op, OpKind::attention)) reserve_scratch(args);
  gpu::Args device = gpu::args_of(args, panels, reinterpret_cast<const int64_t*>(position_.data()));
  device.scratch = scores_.data(), device.scratch_bytes = scores_.size();
  device.far = is_far(block) && (args.params.window == 0 || args.params.window > gpu::AttentionSplit::kShort);
  return device;
}

/// What the op's kernel says of itself: its stamp, if it ran on the device.
Launch& StreamExecutor::launch_of(const Plan& plan, int op) {
  Launch& launch = launches_[static_cast<size_t>(op)];
  const KernelCall* call = kernel_call(plan.ops()[static_cast<size_t>(op)]);
  if (launch.count != 0 || call == nullptr) return launch;
  gpu::Stamp stamp;
  store_.device().download(reinterpret_cast<std::byte*>(&stamp), stamps_.data() + op * kStampBytes,
                           kStampBytes);
  if (stamp.kernel < 0) return launch;
  const KernelInfo* ran = kernel_on(call->kernel->device, stamp.kernel);
  launch.kernel = ran == nullptr ? "?" : ran->name.c_str();
  launch.count = stamp.count + 1;  // a count begins at the fill's -1
  return launch;
}

void StreamExecutor::act(const Plan& plan, const Op& op, const Block& block, KvCache& cache) {
  const int64_t scratch = attention_scratch_floats(block.n_pos());
  if (scratch_.size() < scratch * 4 * pool().size()) scratch_ = AlignedBytes(scratch * 4 * pool().size());
  int64_t taken = 0;
  KernelArgs args;
  args.out = host_view(plan, op.writes, block, true);
  for (size_t j = 0; j < op.reads.size(); ++j)
    args.in[j] = as_input(plan, op, host_view(plan, op.reads[j], block, false));
  if (op.cache != CacheUse::none) args.cache = cache.layer(op.layer, op.cache == CacheUse::writes);
  args.position = block.position;
  args.block_rows = block.rows;
  args.scratch = {scratch_.data(), pool().size(), scratch, scratch * 4, Format::f32};
  args.taken = &taken;
  const ActionCall* own = set_call(op, args);
  args.launch = &launch_of(plan, own != nullptr && own->watches ? *own->watches : op.id);
  pool().run([&](Part part) { action_of(op)->run(args, part); });
}

void StreamExecutor::run_ops(const Plan& plan, const Block& block, KvCache& cache) {
  for (const Op& op : plan.ops()) {
    if (action_of(op) != nullptr) {
      act(plan, op, block, cache);
    } else {
      gpu::Args args = args_for(plan, op, block, cache);
      args.stamp = reinterpret_cast<gpu::Stamp*>(stamps_.data()) + op.id;
      store_.device().launch(*kernel_call(op)->kernel->on_device, std::span(&args, 1));
    }
  }
}

void StreamExecutor::launch_all(std::span<const gpu::Task> tasks) {
  gpu::Device& device = store_.device();
  while (!tasks.empty()) {
    const gpu::Launched next = gpu::next_launch(tasks, device.chip());
    std::vector<gpu::Args> parts;
    for (const gpu::Task& task : tasks.first(next.count)) parts.push_back(task.args);
    for (const gpu::Kernel* kernel : next.kernels) device.launch(*kernel, parts);
    tasks = tasks.subspan(next.count);
  }
}

std::vector<gpu::Task> StreamExecutor::tasks_of(const Plan& plan, const Block& block, KvCache& cache) {
  std::vector<gpu::Task> tasks;
  for (const Op& op : plan.ops())
    tasks.push_back({kernel_call(op)->kernel->on_device, args_for(plan, op, block, cache), op.sync});
  return tasks;
}

std::vector<KvView> StreamExecutor::refresh(const Plan& plan, KvCache& cache) {
  std::vector<KvView> layers;
  for (const Op& op : plan.ops()) {
    if (op.writes != kNoBuffer) memory_[static_cast<size_t>(op.writes)].write_device();
    for (const BufferId id : op.reads) {
      if (plan.buffer(id).constant == nullptr) memory_[static_cast<size_t>(id)].read_device();
    }
    if (op.cache != CacheUse::none)
      layers.push_back(cache.device_layer(op.layer, op.cache == CacheUse::writes));
  }
  return layers;
}

/// A plan without actions, where nobody looks between its ops. The kernels of a step are a recording from the
/// second time on that they have the same arguments: those follow from where its memory is.
void StreamExecutor::run_tasks(const Plan& plan, const Block& block, KvCache& cache) {
  if (block.rows != 1) return launch_all(tasks_of(plan, block, cache));
  std::vector<KvView> layers = refresh(plan, cache);
  Recorded& recorded = recorded_[plan.id()];
  if (recorded.memory != memory_made_ || recorded.far != is_far(block) || recorded.layers != layers) {
    recorded = {tasks_of(plan, block, cache), memory_made_, is_far(block), std::move(layers), nullptr};
    return launch_all(recorded.tasks);
  }
  if (recorded.recording == nullptr)
    recorded.recording = store_.device().record([&] { launch_all(recorded.tasks); });
  if (recorded.recording == nullptr) return launch_all(recorded.tasks);
  recorded.recording->replay();
}

std::span<const float> StreamExecutor::run(const Plan& plan, std::span<const int32_t> tokens,
                                           int64_t position, KvCache& cache) {
  const Block block{std::ssize(tokens), position};
  check_block(plan, block, cache.capacity());
  reserve(plan, block);
  const View ids = host_view(plan, plan.tokens, block, true);
  for (int64_t i = 0; i < block.rows; ++i) std::memcpy(ids.raw_row(i), &tokens[static_cast<size_t>(i)], 4);
  store_.device().upload(position_.data(), reinterpret_cast<const std::byte*>(&block.position), 8);
  if (has_actions(plan)) {
    run_ops(plan, block, cache);
  } else {
    run_tasks(plan, block, cache);
  }
  cache.set_length(block.n_pos());
  if (plan.logits == kNoBuffer) {
    store_.device().wait();
    return {};
  }
  const View logits = host_view(plan, plan.logits, block, false);
  return {logits.row(0), static_cast<size_t>(logits.cols)};
}

void StreamExecutor::fill_buffers(float value) {
  for (Mirror& memory : memory_) {
    if (memory.size() > 0)
      std::fill_n(reinterpret_cast<float*>(memory.write_host()), memory.size() / 4, value);
  }
}

}  // namespace greta
