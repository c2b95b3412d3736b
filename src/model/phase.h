#pragma once
// The two ways to run a model, which of them something is about, and what of a run was recorded.

#include <compare>
#include <string>
#include <string_view>

namespace greta {

/// Many tokens at once, or one against a KV cache.
enum class Phase { prefill, decode };

constexpr std::string_view name(Phase phase) { return phase == Phase::prefill ? "prefill" : "decode"; }

/// What concerns one of them, or both.
enum class Phases { prefill, decode, both };

constexpr std::string_view name(Phases phases) {
  return phases == Phases::both ? "both" : name(phases == Phases::prefill ? Phase::prefill : Phase::decode);
}

constexpr bool concerns(Phases phases, Phase phase) {
  return phases == Phases::both || (phases == Phases::prefill) == (phase == Phase::prefill);
}

constexpr Phases only(Phase phase) { return phase == Phase::prefill ? Phases::prefill : Phases::decode; }

/// What of a run an event shows; `other` is an engine's own word, such as a later step.
enum class Seen {
  prefill,       // all recorded rows of the prompt
  prefill_last,  // the last prompt token's row
  decode0,       // the first S = 1 step
  other
};

/// Public names of the first three; that of `other` is the event's own.
inline constexpr const char* kPrefill = "prefill";
inline constexpr const char* kPrefillLast = "prefill_last";
inline constexpr const char* kDecode0 = "decode0";

constexpr Seen seen_from_name(std::string_view phase) {
  return phase == kPrefill       ? Seen::prefill
         : phase == kPrefillLast ? Seen::prefill_last
         : phase == kDecode0     ? Seen::decode0
                                 : Seen::other;
}

/// Anything but the prompt's rows is a step.
constexpr Phase phase_of(Seen seen) {
  return seen == Seen::prefill || seen == Seen::prefill_last ? Phase::prefill : Phase::decode;
}

/// A cell of the experiment matrix.
struct CellKey {
  std::string experiment, prompt;
  auto operator<=>(const CellKey&) const = default;
};

/// "E0/p4_sys".
inline std::string name(const CellKey& key) { return key.experiment + "/" + key.prompt; }

}  // namespace greta
