#pragma once
// The whole source, for each form that compiles it.

#include "kernels/gpu/attention.h"
#include "kernels/gpu/gemm_int8.h"
#include "kernels/gpu/kernel_list.h"
#include "kernels/gpu/matmul_half.h"
#include "kernels/gpu/matmul_vector.h"
#include "kernels/gpu/rows.h"

namespace greta::gpu::GRETA_FORM {

GRETA_DEVICE void stamp(const Args& args, KernelId id) {
  if (args.stamp == nullptr || thread_index() != 0 || group_x() != 0 || group_y() != 0) return;
  args.stamp->kernel = static_cast<int32_t>(id);
  ++args.stamp->count;
}

/// A kernel: what it may do before the one before it has ended, it does by itself.
template <class Body>
GRETA_DEVICE void run(const Args& args, KernelId id, Body body) {
  allow_next();
  if (!launching(id, kWave).early) wait_for_previous();
  body();
  stamp(args, id);
}

}  // namespace greta::gpu::GRETA_FORM
