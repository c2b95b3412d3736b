#pragma once
// The source of kernels/gpu as the emulator compiles it: once for waves of 32 lanes, once for 64.

#include "emulator/work_group.h"
#include "kernels/gpu/kernel_list.h"

namespace greta::gpu {

namespace wave32 {
emulator::Body body_of(KernelId id);
}
namespace wave64 {
emulator::Body body_of(KernelId id);
}

}  // namespace greta::gpu
