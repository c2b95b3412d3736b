#include "kernels/gpu/launches.h"

#include <algorithm>
#include <vector>

#include "kernels/gpu/shapes.h"

namespace greta::gpu {
namespace {

using Ops = std::span<const Task>;

/// Kernels that do a run of ops together, where they fit.
struct Chain {
  std::vector<KernelId> kernels;
  std::vector<OpKind> ops;
  bool (*fits)(Ops ops, const Chip& chip);
};

bool reads_from(const Task& reader, const Task& writer) { return reader.args.in[0] == writer.args.out; }

bool add_norm_fits(Ops ops, const Chip&) {
  return reads_from(ops[1], ops[0]) && ops[1].args.in[1].cols == ops[0].args.out.cols;
}

bool is_step(Ops ops) {
  const Args& attention = ops[3].args;
  return attention.in[0].rows == 1 && reads_from(ops[3], ops[0]) && reads_from(ops[2], ops[1]) &&
         attention.cache == ops[2].args.cache && attention.cache.head_dim <= kMostHeadDim;
}

bool step_fits(Ops ops, const Chip& chip) {
  return is_step(ops) && ops[3].args.cache.capacity <= AttentionStep(chip.wave).most_positions;
}

bool split_fits(Ops ops, const Chip& chip) {
  constexpr int64_t kMostGroup = 16;  // heads that share a kv head, whose queries lie in shared memory
  const Args& attention = ops[3].args;
  const KvView& cache = attention.cache;
  return is_step(ops) && attention.far && cache.head_dim % 16 == 0 &&
         cache.head_dim % AttentionSplit::dims(static_cast<int>(cache.head_dim)) == 0 &&
         cache.capacity <= AttentionSplit(chip.wave).most_scores &&
         attention.params.n_head / cache.n_head_kv <= kMostGroup &&
         attention.params.n_head * cache.capacity * 4 <= attention.scratch_bytes;
}

template <bool kMany>
bool tile_fits(Ops ops, const Chip& chip) {
  constexpr int64_t kTiles = 3;  // of a processor, where they are the larger ones
  const Args& args = ops[0].args;
  const AttentionTile shape(chip.wave, kMany);
  const KvView& cache = args.cache;
  const int64_t queries = args.in[0].rows * args.params.n_head / cache.n_head_kv;
  return args.in[0].rows > 1 && cache.head_dim % 16 == 0 && cache.head_dim <= kMostHeadDim &&
         shape.scratch_bytes(cache.capacity) <= args.scratch_bytes &&
         (!kMany || cache.n_head_kv * shape.tiles(queries) >= kTiles * chip.processors);
}

const std::vector<Chain>& chains() {
  static const std::vector<OpKind> kStep{OpKind::rope, OpKind::rope, OpKind::kv_write, OpKind::attention};
  static const std::vector<Chain> all{
      {{KernelId::add_norm}, {OpKind::add, OpKind::rms_norm}, add_norm_fits},
      {{KernelId::split_scores, KernelId::split_mix}, kStep, split_fits},
      {{KernelId::step_attention}, kStep, step_fits},
      {{KernelId::tile_attention_many}, {OpKind::attention}, tile_fits<true>},
      {{KernelId::tile_attention}, {OpKind::attention}, tile_fits<false>},
  };
  return all;
}

bool begin_with(Ops tasks, const std::vector<OpKind>& ops) {
  return tasks.size() >= ops.size() &&
         std::equal(ops.begin(), ops.end(), tasks.begin(),
                    [](OpKind op, const Task& task) { return task.kernel->op == op; });
}

/// Of ops beside one another, how many the first one's kernel takes.
size_t beside(Ops tasks, const Chip& chip) {
  const Launching how = launching(tasks[0].kernel->id, chip.wave);
  const size_t most = how.chained ? 1 : std::min(static_cast<size_t>(how.parts), tasks.size());
  size_t count = 1;
  while (count < most && tasks[count].kernel == tasks[0].kernel && !tasks[count].waits) ++count;
  return count;
}

}  // namespace

Launched next_launch(std::span<const Task> tasks, const Chip& chip) {
  for (const Chain& chain : chains()) {
    if (!begin_with(tasks, chain.ops) || !chain.fits(tasks.first(chain.ops.size()), chip)) continue;
    Launched next{{}, chain.ops.size()};
    for (const KernelId id : chain.kernels) next.kernels.push_back(&kernels()[static_cast<size_t>(id)]);
    return next;
  }
  return {{tasks[0].kernel}, beside(tasks, chip)};
}

Grid place(const Kernel& kernel, std::span<Args> parts, const Chip& chip) {
  Grid whole = kernel.grid(parts.back(), chip);
  if (launching(kernel.id, chip.wave).chained) {
    for (Args& part : parts) part.first = 0, part.groups = static_cast<int32_t>(whole.y);
    return whole;
  }
  int64_t wanted = 0;
  for (const Args& part : parts) wanted += kernel.grid(part, chip).y;
  // Those that stay on a processor take several each.
  const int64_t most = kernel.resident != nullptr ? kernel.resident(parts[0], chip) : wanted;
  whole.y = 0;
  for (Args& part : parts) {
    const Grid own = kernel.grid(part, chip);
    const int64_t groups = wanted <= most ? own.y : std::max<int64_t>(1, own.y * most / wanted);
    part.first = static_cast<int32_t>(whole.y), part.groups = static_cast<int32_t>(groups);
    whole.x = std::max(whole.x, own.x), whole.y += groups;
  }
  return whole;
}

int64_t attention_scratch_bytes(int64_t rows, int64_t n_head, const KvView& cache, const Chip& chip) {
  constexpr int64_t kMost = int64_t{1} << 30;
  const AttentionTile shape(chip.wave, true);
  const int64_t own = shape.scratch_bytes(cache.capacity);
  const int64_t groups = cache.n_head_kv * shape.tiles(rows * n_head / cache.n_head_kv);
  return std::max(own, std::min(groups * own, kMost / own * own));
}

}  // namespace greta::gpu
