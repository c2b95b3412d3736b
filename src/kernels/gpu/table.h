#pragma once
// The kernels of devices with memory of their own, as the host knows them.

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/gpu/args.h"
#include "kernels/gpu/kernel_list.h"
#include "kernels/kernel.h"

namespace greta::gpu {

struct Kernel {
  KernelId id;
  const char* symbol;     // in a code object
  std::string_view name;  // "gemv.q4_1"
  OpKind op;
  std::optional<TensorType> type = {};
  std::optional<Route> route = {};
  std::optional<Shape> shape = {};
  Roundings roundings = {};
  Grid (*grid)(const Args& args, const Chip& chip);
};

/// In the order of KernelId.
std::span<const Kernel> kernels();

/// Arguments whose addresses are the device's, those of the weight's panels and of the position among them.
Args args_of(const KernelArgs& args, const std::byte* panels, const int64_t* position);

/// As rows of the engine's table, for a device such as "cuda"; `missing` as in KernelInfo.
std::vector<KernelInfo> kernel_infos(std::string_view device, const std::string& missing);

}  // namespace greta::gpu
