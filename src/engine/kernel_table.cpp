#include "engine/kernel_table.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "gpu/cuda.h"
#include "kernels/expert_matmul.h"
#include "kernels/gpu/table.h"
#include "sim/device.h"
#include "sim/matmul.h"

namespace greta {

/// The matrix units of simulated devices of these names.
static std::vector<gpu::Unit> units_called(std::initializer_list<std::string_view> names) {
  std::vector<gpu::Unit> units;
  for (const sim::Device& device : sim::devices()) {
    if (std::find(names.begin(), names.end(), device.name) != names.end())
      units.push_back({device.name, device.bf16, device.f16});
  }
  return units;
}

std::span<const KernelInfo> kernel_table() {
  static const std::vector<KernelInfo> table = [] {
    std::vector<KernelInfo> all(cpu_kernels().begin(), cpu_kernels().end());
    std::vector<KernelInfo> simulated = sim::kernels();
    add_expert_kernels(simulated);
    for (KernelInfo& kernel : simulated) all.push_back(std::move(kernel));
    const auto add = [&](const char* device, std::initializer_list<std::string_view> units,
                         const std::string& missing) {
      for (KernelInfo& kernel : gpu::kernel_infos(device, units_called(units), sim::matrix_slices, missing))
        all.push_back(std::move(kernel));
    };
    add("cuda", {"a100", "h100", "b200"}, gpu::missing_for_cuda());
    add("emu", {"a100", "h100", "mi250x", "mi300x"}, "");
    return all;
  }();
  return table;
}

const KernelInfo* find_kernel(const KernelQuery& query, std::string* why) {
  return find_kernel(kernel_table(), query, why);
}

const KernelInfo& require_kernel(const KernelQuery& query, const std::string& otherwise) {
  std::string why;
  const KernelInfo* kernel = find_kernel(query, &why);
  if (kernel == nullptr) fail_machine("{}: {}", otherwise, why);
  return *kernel;
}

const KernelInfo* kernel_on(std::string_view device, int32_t id) {
  for (const KernelInfo& kernel : kernel_table()) {
    if (serves(kernel.device, device) && kernel.on_device != nullptr &&
        static_cast<int32_t>(kernel.on_device->id) == id)
      return &kernel;
  }
  return nullptr;
}

const KernelInfo* kernel_named(std::string_view name) {
  const auto table = kernel_table();
  const auto found =
      std::find_if(table.begin(), table.end(), [&](const KernelInfo& k) { return k.name == name; });
  return found == table.end() ? nullptr : &*found;
}

}  // namespace greta
