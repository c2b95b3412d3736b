#pragma once
// The word that somebody probably meant.

#include <span>
#include <string>
#include <string_view>

namespace greta {

/// "; did you mean X?", or "" where nothing of `known` is near: that is, more than a third of the word would
/// have to be written otherwise (insertions, deletions, exchanges, neighbours swapped), and neither begins
/// with the other.
std::string did_you_mean(std::string_view word, std::span<const std::string> known);

}  // namespace greta
