// The kernels of a form; nothing of it is shared with the other one.

#include "emulator/kernels.h"
#include "emulator/lanes.h"
#include "kernels/gpu/kernels.h"

namespace greta::gpu::GRETA_FORM {
namespace {

constexpr emulator::Body kBodies[] = {
#define GRETA_GPU_X(name, body) \
  [](const Args* parts) { run<KernelId::name>(parts, [](const auto& args) { body(args); }); },
    GRETA_GPU_KERNELS
#undef GRETA_GPU_X
};

}  // namespace

emulator::Body body_of(KernelId id) { return kBodies[static_cast<size_t>(id)]; }

}  // namespace greta::gpu::GRETA_FORM
