#pragma once
// What was done to the cache row that an aligned decode0 is to write, and prefill has written before it: a
// row that is left there looks written whether it is or not (docs/trace-format.md, "Traps").

#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace greta {

enum class Decode0Row {
  zeros,      // overwritten with them
  other_row,  // with another position's key and value
  nan,
  freed,  // the cache was cut back, so that decode0's row is new memory
};

/// A row per value: the manifest's field "decode0_row", of the bundle or of one prompt.
inline constexpr std::array<std::string_view, 4> kDecode0RowNames = {"zeros", "other row", "nan", "freed"};

constexpr std::string_view name(Decode0Row row) { return kDecode0RowNames[static_cast<size_t>(row)]; }

/// An event's stage that is not judged: the slot after the one that decode0 writes, once it has. It tells a
/// row that was written one slot on from one that was not written.
inline constexpr const char* kKvNext = "kv_next";

/// Likewise: what the slots that a phase is to write held before.
inline constexpr const char* kKvBefore = "kv_before";

/// As a manifest that was read says of this prompt; nullopt where it says nothing.
std::optional<Decode0Row> decode0_row(const nlohmann::json& manifest, const std::string& prompt);

}  // namespace greta
