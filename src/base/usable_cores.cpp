#include "base/usable_cores.h"

#include <fmt/format.h>
#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

namespace greta {
namespace {

/// Empty where the file is missing. Files of /proc and /sys only.
std::string read_text(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::optional<double> number(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value <= 0) return std::nullopt;
  return value;
}

void take_least(std::optional<double>& least, std::optional<double> value) {
  if (value && (!least || *value < *least)) least = value;
}

/// cpu.max of `group` ("/a/b") and of all groups above it.
std::optional<double> quota_v2(std::string group) {
  std::optional<double> least;
  while (true) {
    take_least(least, parse_cpu_max(read_text("/sys/fs/cgroup" + group + "/cpu.max")));
    const size_t slash = group.rfind('/');
    if (group.empty() || slash == std::string::npos) return least;
    group.resize(slash);
  }
}

std::optional<double> quota_v1(const std::string& group) {
  for (const std::string& folder : {"/sys/fs/cgroup/cpu" + group, std::string("/sys/fs/cgroup/cpu")}) {
    const auto quota = number(read_text(folder + "/cpu.cfs_quota_us"));
    const auto period = number(read_text(folder + "/cpu.cfs_period_us"));
    if (quota && period) return *quota / *period;
  }
  return std::nullopt;
}

std::vector<int> cpus_in_mask() {
  std::vector<int> cpus;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return cpus;
  for (size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(static_cast<int>(cpu));
  }
  return cpus;
}

}  // namespace

std::optional<double> parse_cpu_max(std::string_view text) {
  const size_t space = text.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const auto quota = number(text.substr(0, space)), period = number(text.substr(space + 1));
  if (!quota || !period) return std::nullopt;
  return *quota / *period;
}

int count_cores(const std::vector<std::string>& siblings) {
  return static_cast<int>(std::set<std::string>(siblings.begin(), siblings.end()).size());
}

int allowed_cpus() {
  const size_t count = cpus_in_mask().size();
  return std::max(
      1, count > 0 ? static_cast<int>(count) : static_cast<int>(std::thread::hardware_concurrency()));
}

std::optional<double> cpu_quota() {
  std::optional<double> least;
  std::istringstream groups(read_text("/proc/self/cgroup"));
  for (std::string line; std::getline(groups, line);) {  // "0::/a/b" is v2, "4:cpu,cpuacct:/a/b" is v1
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1),
                      group = line.substr(second + 1);
    if (controllers.empty()) take_least(least, quota_v2(group == "/" ? "" : group));
    if (("," + controllers + ",").find(",cpu,") != std::string::npos) take_least(least, quota_v1(group));
  }
  return least;
}

int usable_cores() {
  std::vector<std::string> siblings;
  for (const int cpu : cpus_in_mask()) {
    std::string list =
        read_text(fmt::format("/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu));
    siblings.push_back(list.empty() ? std::to_string(cpu) : std::move(list));
  }
  const int cores = siblings.empty() ? allowed_cpus() : count_cores(siblings);
  const auto quota = cpu_quota();
  if (!quota) return cores;
  return std::max(1, std::min(cores, static_cast<int>(std::floor(*quota))));
}

}  // namespace greta
