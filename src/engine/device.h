#pragma once
// Devices by the names that --device takes.

#include <memory>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "gpu/device.h"

namespace greta {

enum class DeviceKind {
  host,       // cpu
  simulated,  // sim:mi300x: the host's kernels with a GPU's arithmetic in the projections
  gpu,        // cuda, cuda:1
  emulated,   // emu:h100: a GPU's kernels on the host
};

struct DeviceChoice {
  DeviceKind kind = DeviceKind::host;
  std::string kernels = "cpu";  // KernelInfo::device of those that it runs
};

/// All that there are; of several CUDA devices, "cuda" is the first.
std::vector<std::string> device_names();

/// Throws an input Error that lists the names there are.
DeviceChoice find_device(const std::string& name);

/// The device, if it has memory of its own: nullptr for the host and what runs there. Throws a machine Error
/// that says what is missing.
std::unique_ptr<gpu::Device> open_device(const std::string& name, ThreadPool& pool);

/// Why CUDA devices can't be used here; empty where they can.
std::string missing_for_cuda();

}  // namespace greta
