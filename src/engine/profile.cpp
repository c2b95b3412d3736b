#include "engine/profile.h"

#include <algorithm>

#include "base/timing.h"
#include "engine/kv_cache.h"
#include "engine/transform.h"

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

double operations_of(OpKind kind, const KernelArgs& args) {
  const double per_pair = 2.0 * static_cast<double>(args.params.n_head * args.cache.head_dim);
  switch (kind) {
    case OpKind::matmul: return 2.0 * static_cast<double>(args.weight->n * args.weight->k * args.out.rows);
    case OpKind::attention: return 2 * per_pair * pairs_seen(args);
    case OpKind::qk:
    case OpKind::pv: return per_pair * pairs_seen(args);
    default: return 0;
  }
}

double bytes_of(OpKind kind, const KernelArgs& args) {
  double bytes = bytes_of(args.in[0]) + bytes_of(args.in[1]) + bytes_of(args.out);
  if (kind == OpKind::matmul) bytes += static_cast<double>(args.weight->bytes.size());
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
  Clock(Profile& profile, size_t index, OpKind kind, const KernelInfo& kernel)
      : profile_(profile), index_(index), kind_(kind), kernel_(kernel) {}

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
    stage.bytes += bytes_of(kind_, args);
    stage.operations += operations_of(kind_, args);
  }

 private:
  Profile& profile_;
  size_t index_;
  OpKind kind_;
  const KernelInfo& kernel_;
};

void Profile::attach(Plan& plan) {
  for (size_t i = 0; i < plan.ops.size(); ++i) {
    const Op& op = plan.ops[i];
    if (op.action) continue;
    const std::string stage(op.stage ? name(*op.stage) : name(op.kind));
    replace_kernel(plan, i, std::make_shared<Clock>(*this, index_of(stage), op.kind, *op.kernel));
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
