#pragma once
// NVIDIA's GPUs, by the driver that a machine has: nothing of CUDA is linked.

#include <memory>
#include <string>

#include "gpu/device.h"

namespace greta::gpu {

/// Card number `index`. Throws a machine Error that says what is missing, or what the driver said.
std::unique_ptr<Device> open_cuda(int index);

/// What this build or this machine lacks for any card; empty where nothing is known to be missing. (Asks for
/// no card: that wakes the driver.)
std::string missing_for_cuda();

}  // namespace greta::gpu
