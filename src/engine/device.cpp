#include "engine/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/error.h"
#include "base/nearest.h"
#include "emulator/device.h"
#include "gpu/cuda.h"
#include "sim/device.h"

namespace greta {
namespace {

constexpr std::string_view kCuda = "cuda", kEmulated = "emu:", kSimulated = "sim:";

/// N of "cuda:N", 0 of "cuda".
std::optional<int> cuda_index(std::string_view name) {
  if (name == kCuda) return 0;
  if (!name.starts_with("cuda:")) return std::nullopt;
  const std::string_view digits = name.substr(5);
  int index = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  const bool whole = error == std::errc() && end == digits.data() + digits.size() && index >= 0;
  return whole ? std::optional(index) : std::nullopt;
}

/// The entry of a table of devices that is called `prefix` and its name.
template <class Devices>
auto called(const Devices& devices, std::string_view prefix, std::string_view name) {
  return std::find_if(devices.begin(), devices.end(), [&](const auto& device) {
    return name.starts_with(prefix) && name.substr(prefix.size()) == device.name;
  });
}

}  // namespace

std::vector<std::string> device_names() {
  std::vector<std::string> names = {"cpu", "cuda"};
  for (const emulator::Card& card : emulator::cards())
    names.push_back(fmt::format("{}{}", kEmulated, card.name));
  for (const sim::Device& unit : sim::devices()) names.push_back(fmt::format("{}{}", kSimulated, unit.name));
  return names;
}

DeviceChoice find_device(const std::string& name) {
  if (name == "cpu") return {};
  if (cuda_index(name)) return {DeviceKind::gpu, std::string(kCuda)};
  const auto cards = emulator::cards();
  if (called(cards, kEmulated, name) != cards.end()) return {DeviceKind::emulated, "emu"};
  const auto units = sim::devices();
  if (called(units, kSimulated, name) != units.end()) return {DeviceKind::simulated, name};
  const std::vector<std::string> known = device_names();
  fail_input("--device {}: there is no such device{} (known: {})", name, did_you_mean(name, known),
             fmt::join(known, ", "));
}

std::unique_ptr<gpu::Device> open_device(const std::string& name, ThreadPool& pool) {
  switch (find_device(name).kind) {
    case DeviceKind::gpu: return gpu::open_cuda(*cuda_index(name));
    case DeviceKind::emulated:
      return emulator::make_device(*called(emulator::cards(), kEmulated, name), pool);
    default: return nullptr;
  }
}

std::string missing_for_cuda() { return gpu::missing_for_cuda(); }

}  // namespace greta
