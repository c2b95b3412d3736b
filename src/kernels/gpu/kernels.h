#pragma once
// The whole source, for each form that compiles it.

#include "kernels/gpu/attention.h"
#include "kernels/gpu/kernel_list.h"
#include "kernels/gpu/matmul_int8.h"
#include "kernels/gpu/matmul_vector.h"
#include "kernels/gpu/rows.h"

namespace greta::gpu::GRETA_FORM {

GRETA_DEVICE void stamp(const Args& args, KernelId id) {
  if (args.stamp == nullptr || thread_index() != 0 || group_x() != 0 || group_y() != 0) return;
  args.stamp->kernel = static_cast<int32_t>(id);
  ++args.stamp->count;
}

}  // namespace greta::gpu::GRETA_FORM
