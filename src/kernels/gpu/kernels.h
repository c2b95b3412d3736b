#pragma once
// The whole source, for each form that compiles it.

#include "kernels/gpu/attention.h"
#include "kernels/gpu/attention_split.h"
#include "kernels/gpu/attention_step.h"
#include "kernels/gpu/attention_tile.h"
#include "kernels/gpu/gemm_int8.h"
#include "kernels/gpu/kernel_list.h"
#include "kernels/gpu/matmul_half.h"
#include "kernels/gpu/matmul_vector.h"
#include "kernels/gpu/norm.h"
#include "kernels/gpu/rows.h"

namespace greta::gpu::GRETA_FORM {

/// The op that this work-group belongs to, of ops beside one another.
template <int kCount>
GRETA_DEVICE const Args& own_part(const Args* parts) {
  int own = 0;
#pragma unroll
  for (int i = 1; i < kCount; ++i) own += parts[i].groups > 0 && group_y() >= parts[i].first ? 1 : 0;
  return parts[own];
}

GRETA_DEVICE void stamp(const Args& args, KernelId id) {
  if (args.stamp == nullptr || thread_index() != 0 || group_x() != 0 || group_y() != args.first) return;
  args.stamp->kernel = static_cast<int32_t>(id);
  ++args.stamp->count;
}

/// A kernel: what it may do before the one before it has ended, it does by itself. `body` gets its op's
/// arguments, or those of all the ops that it does one after another.
template <KernelId kId, class Body>
GRETA_DEVICE void run(const Args* parts, Body body) {
  constexpr Launching kHow = launching(kId, kWave);
  allow_next();
  if (!kHow.early) wait_for_previous();
  if constexpr (kHow.chained) {
    body(parts);
    for (int i = 0; i < kHow.parts; ++i) stamp(parts[i], kId);
  } else {
    const Args& args = own_part<kHow.parts>(parts);
    body(args);
    stamp(args, kId);
  }
}

}  // namespace greta::gpu::GRETA_FORM
