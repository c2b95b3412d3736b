#include "record/matrix_request.h"

#include <algorithm>
#include <iterator>
#include <random>
#include <set>

namespace greta {

Decode0Row decode0_row(const MatrixRequest& request, size_t prompt) {
  const bool has_other = request.prompts[prompt].tokens.size() > 1;
  return has_other && prompt % 2 == 1 ? Decode0Row::other_row : Decode0Row::zeros;
}

std::vector<int64_t> judged_rows(Stage stage, int64_t n) {
  constexpr int64_t kAll = 64;
  std::vector<int64_t> rows;
  if (is_inside_ffn(stage)) {
    for (int64_t row = 0; row < std::min<int64_t>(3, n); ++row) rows.push_back(row);
    return rows;
  }
  for (int64_t row = 0; row < n; ++row) {
    // Tiles and pages begin and end at multiples of 16; those of 32 and 96 are the ones that real bugs had.
    const int64_t edge = row % 32;
    const bool near_edge =
        row < 130 ? edge == 0 || edge == 1 || edge == 31 : row % 128 <= 1 || row % 128 == 127;
    if (n <= kAll || near_edge || row < 3 || row == 15 || row == 16 || row == 17 || row + 2 >= n)
      rows.push_back(row);
  }
  return rows;
}

std::vector<int64_t> drawn_numbers(uint64_t seed, int count, int64_t n) {
  std::mt19937_64 noise(seed);
  std::set<int64_t> numbers;
  while (std::ssize(numbers) < std::min<int64_t>(count, n))
    numbers.insert(static_cast<int64_t>(noise() % static_cast<uint64_t>(n)));
  return {numbers.begin(), numbers.end()};
}

std::vector<int64_t> judged_rows(Stage stage, int64_t n, const DrawnRows& drawn) {
  const std::vector<int64_t> fixed = judged_rows(stage, n),
                             more = drawn_numbers(drawn.seed + static_cast<uint64_t>(n), drawn.count, n);
  std::vector<int64_t> rows;
  std::set_union(fixed.begin(), fixed.end(), more.begin(), more.end(), std::back_inserter(rows));
  return rows;
}

}  // namespace greta
