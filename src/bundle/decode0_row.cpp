#include "bundle/decode0_row.h"

#include <algorithm>

namespace greta {
namespace {

std::optional<Decode0Row> said_in(const nlohmann::json& object) {
  const auto it = std::ranges::find(kDecode0RowNames, object.value("decode0_row", ""));
  if (it == kDecode0RowNames.end()) return std::nullopt;
  return static_cast<Decode0Row>(it - kDecode0RowNames.begin());
}

}  // namespace

std::optional<Decode0Row> decode0_row(const nlohmann::json& manifest, const std::string& prompt) {
  const auto prompts = manifest.find("prompts");
  if (prompts != manifest.end()) {
    for (const nlohmann::json& one : *prompts) {
      if (one.value("id", "") != prompt) continue;
      if (const auto said = said_in(one)) return said;
    }
  }
  return said_in(manifest);
}

}  // namespace greta
