#include "base/nearest.h"

#include <algorithm>
#include <vector>

namespace greta {
namespace {

/// Restricted Damerau-Levenshtein distance (optimal string alignment).
size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t exchange = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, exchange});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
    }
  }
  return cost[a.size()][b.size()];
}

constexpr size_t kLongest = 64;  // what is longer is no misspelt word

}  // namespace

std::string did_you_mean(std::string_view word, std::span<const std::string> known) {
  if (word.empty() || word.size() > kLongest) return "";
  const std::string* best = nullptr;
  size_t least = 0;
  for (const std::string& name : known) {
    const bool begins = word.size() > 2 && (name.starts_with(word) || word.starts_with(name));
    const size_t distance = begins ? 0 : edits(word, name);
    if (3 * distance > std::max<size_t>(word.size(), 3)) continue;
    if (best == nullptr || distance < least) {
      best = &name;
      least = distance;
    }
  }
  return best == nullptr ? "" : "; did you mean " + *best + "?";
}

}  // namespace greta
