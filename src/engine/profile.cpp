#include "engine/profile.h"

#include <algorithm>

#include "base/timing.h"
#include "engine/kv_cache.h"
#include "engine/plan_edit.h"

namespace greta {
namespace {

double bytes_of(const View& view) {
  return view.data == nullptr ? 0 : static_cast<double>(view.rows * view.stride);
}

/// Query rows of this block times the positions that each sees.
double pairs_seen(const KernelArgs& args) {
  const double rows = static_cast<double>(args.block_rows), position = static_cast<double>(args.position);
  return rows * position + rows * (rows + 1) / 2;
}

/// Products by one matrix: of each chosen expert, or of each head.
int64_t products_of(const KernelArgs& args) {
  return args.in[0].rows * (args.in[1].cols == 0 ? args.params.experts : args.in[1].cols);
}

/// Matrices that the op reads: each chosen expert's, at most all.
double matrices_read(OpKind kind, const KernelArgs& args) {
  if (kind != OpKind::expert_matmul) return kind == OpKind::matmul ? 1 : 0;
  return static_cast<double>(std::min(args.params.experts, products_of(args)));
}

double operations_of(OpKind kind, const KernelArgs& args) {
  const double per_pair = 2.0 * static_cast<double>(args.params.n_head * args.cache.head_dim);
  switch (kind) {
    case OpKind::matmul: return 2.0 * static_cast<double>(args.weight->n * args.weight->k * args.out.rows);
    case OpKind::expert_matmul:
      return 2.0 * static_cast<double>(args.weight->n * args.weight->k * products_of(args));
    case OpKind::attention: return 2 * per_pair * pairs_seen(args);
    case OpKind::qk:
    case OpKind::pv: return per_pair * pairs_seen(args);
    default: return 0;
  }
}

double bytes_of(OpKind kind, const KernelArgs& args) {
  double bytes = bytes_of(args.out);
  for (const View& in : args.in) bytes += bytes_of(in);
  if (args.weight != nullptr)
    bytes += matrices_read(kind, args) * static_cast<double>(args.weight->bytes.size());
  const KvView& cache = args.cache;
  if (cache.keys != nullptr && kind != OpKind::kv_write) {
    const auto positions = static_cast<double>(args.position + args.block_rows);
    const int64_t width = cache.n_head_kv * cache.head_dim;
    bytes += positions * 2 * static_cast<double>(cache_bytes(cache.format, width));
  }
  return bytes;
}

}  // namespace

/// Runs the kernel it stands for, and times the first thread.
class Profile::Clock : public Action {
 public:
  Clock(Profile& profile, size_t index, const KernelInfo& kernel)
      : profile_(profile), index_(index), kernel_(kernel) {}

  std::string label() const override { return "timed " + kernel_.name; }

  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return kernel_.run(args, part);
    const Stopwatch watch;
    kernel_.run(args, part);
    const double time = watch.seconds();
    StageTime& stage = profile_.stages_[index_];
    stage.kernel = kernel_.name;
    stage.multiplies = kernel_.roundings.activation;
    ++stage.runs;
    stage.seconds += time;
    stage.bytes += bytes_of(kernel_.op, args);
    stage.operations += operations_of(kernel_.op, args);
  }

 private:
  Profile& profile_;
  size_t index_;
  const KernelInfo& kernel_;
};

void Profile::attach(Plan& plan) {
  PlanEdit edit(plan);
  for (Op& op : edit.ops()) {
    if (action_of(op) != nullptr) continue;
    const KernelInfo& kernel = *kernel_call(op)->kernel;
    const std::string stage(op.makes ? name(*op.makes) : name(kernel.op));
    edit.replace(op, std::make_shared<Clock>(*this, index_of(stage), kernel));
  }
}

void Profile::clear() {
  for (StageTime& stage : stages_) stage = {.stage = stage.stage};
}

size_t Profile::index_of(const std::string& stage) {
  const auto found = std::find_if(stages_.begin(), stages_.end(),
                                  [&](const StageTime& entry) { return entry.stage == stage; });
  if (found != stages_.end()) return static_cast<size_t>(found - stages_.begin());
  stages_.push_back({.stage = stage});
  return stages_.size() - 1;
}

}  // namespace greta
