#pragma once
// How the table of phrases is put together from its parts.

#include <span>
#include <string_view>

#include "report/phrases.h"

namespace greta::report {

struct PhraseEntry {
  Phrase phrase;
  std::string_view english, spanish;
};

/// The first phrase of a finding, and of what follows those.
constexpr Phrase kFindingPhrases = Phrase::place_layer, kOtherPhrases = Phrase::flagged;

/// Whether the entries are those from `first` on.
constexpr bool in_order(std::span<const PhraseEntry> entries, Phrase first) {
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].phrase != static_cast<Phrase>(static_cast<size_t>(first) + i)) return false;
  }
  return true;
}

std::span<const PhraseEntry> finding_phrases();

}  // namespace greta::report
