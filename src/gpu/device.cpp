#include "gpu/device.h"

namespace greta::gpu {

std::unique_ptr<Recording> Device::record(const std::function<void()>&) { return nullptr; }

}  // namespace greta::gpu
