#include "engine/kernel_table.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "gpu/cuda.h"
#include "kernels/gpu/table.h"
#include "sim/device.h"

namespace greta {

std::span<const KernelInfo> kernel_table() {
  static const std::vector<KernelInfo> table = [] {
    std::vector<KernelInfo> all(cpu_kernels().begin(), cpu_kernels().end());
    for (KernelInfo& kernel : sim::kernels()) all.push_back(std::move(kernel));
    for (KernelInfo& kernel : gpu::kernel_infos("cuda", gpu::missing_for_cuda()))
      all.push_back(std::move(kernel));
    for (KernelInfo& kernel : gpu::kernel_infos("emu", "")) all.push_back(std::move(kernel));
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
    if (kernel.device == device && kernel.on_device != nullptr &&
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
