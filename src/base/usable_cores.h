#pragma once
// How many cores this process may use:
// its affinity mask, hyper-threads counted once, and the container's quota.

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace greta {

/// Hardware threads in the affinity mask, at least 1. With more threads than that, whoever spins keeps the
/// one that is waited for from running.
int allowed_cpus();

/// CPU time per wall time that the control groups of this process grant, in cores; nullopt without a limit.
/// Looks at cgroup v2 (cpu.max of the process's group and of all above it) and v1 (cpu.cfs_quota_us).
std::optional<double> cpu_quota();

/// Threads that are worth starting:
/// physical cores among the allowed CPUs, at most the quota (rounded down), at least 1.
int usable_cores();

// What these read, as text.
/// "200000 100000" -> 2; "max 100000", or anything else -> nullopt.
std::optional<double> parse_cpu_max(std::string_view text);
/// The cores among `siblings`, the hyper-threads of each CPU ("0,64", "0-1"): equal lists are one core.
int count_cores(const std::vector<std::string>& siblings);

}  // namespace greta
