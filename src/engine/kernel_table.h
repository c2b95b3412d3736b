#pragma once
// The one table of kernels that the engine plans with: the CPU's, the simulated devices' and the GPUs'. A new
// kind of device is one line in kernel_table.cpp.

#include <span>
#include <string>
#include <string_view>

#include "kernels/kernel.h"

namespace greta {

/// All kernels compiled into this program, whether this machine can run them or not.
std::span<const KernelInfo> kernel_table();

/// The kernel that answers the query, or nullptr with the reason in `why` (no such kernel, or features
/// missing).
const KernelInfo* find_kernel(const KernelQuery& query, std::string* why);

/// The same where there must be one: throws a machine Error "<otherwise>: <why>".
const KernelInfo& require_kernel(const KernelQuery& query, const std::string& otherwise);

/// The kernel of a device such as "cuda" by its place in the device's list; nullptr where there is none.
const KernelInfo* kernel_on(std::string_view device, int32_t id);

/// The kernel of that name, or nullptr.
const KernelInfo* kernel_named(std::string_view name);

}  // namespace greta
