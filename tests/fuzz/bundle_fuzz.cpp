// A bundle from hostile bytes: the input's parts, split at "\n--\n", are manifest.json, events.jsonl and the
// tensors file of every name. Nothing but an Error may come out.

#include <cstdint>
#include <optional>
#include <string_view>

#include "base/error.h"
#include "bundle/bundle_files.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr std::string_view kSplit = "\n--\n";
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  const auto next = [&rest, kSplit] {
    const size_t end = rest.find(kSplit);
    const std::string_view part = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + kSplit.size());
    return std::as_bytes(std::span(part));
  };
  const auto manifest = next();
  const auto events = next();
  const auto tensors = std::as_bytes(std::span(rest));
  const greta::FindFile find = [&](const std::string& name) -> std::optional<std::span<const std::byte>> {
    if (name == greta::kManifestFile) return manifest;
    return name == greta::kEventsFile ? events : tensors;
  };
  try {
    const greta::Bundle bundle = greta::parse_bundle("fuzz", find);
    for (const greta::Event& event : bundle.events) bundle.data(event);
  } catch (const greta::Error&) {
  }
  try {
    for (const auto& [name, tensor] : greta::parse_safetensors(tensors, "fuzz")) greta::to_floats(tensor);
  } catch (const greta::Error&) {
  }
  return 0;
}
