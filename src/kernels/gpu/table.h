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
  /// Of work-groups that take more than their share one by one: how many a card has at once.
  int64_t (*resident)(const Args& args, const Chip& chip) = nullptr;
  bool in_plans = true;  // or only in the place of several ops (launches.h)
};

/// In the order of KernelId.
std::span<const Kernel> kernels();

/// Arguments whose addresses are the device's, those of the weight's panels and of the position among them.
Args args_of(const KernelArgs& args, const std::byte* panels, const int64_t* position);

/// A card's matrix unit for 16-bit floats: its name, and its instructions (units/instruction.h).
struct Unit {
  std::string_view name, bf16, f16;
};

/// As rows of the engine's table, for a device such as "cuda"; those of 16-bit products once for each unit
/// that it may have. `unit_run` computes such a product on the host; `missing` as in KernelInfo.
std::vector<KernelInfo> kernel_infos(const std::string& device, std::span<const Unit> units,
                                     KernelFn unit_run, const std::string& missing);

}  // namespace greta::gpu
