#pragma once
// Which part of a stage is wrong, in words: positions, heads, elements. What an unexplained fault is
// described by, and what shows the condition of a named one.

#include <set>
#include <string>
#include <vector>

#include "base/text.h"
#include "judge/observation.h"

namespace greta {

class ResidualPattern {
 public:
  /// All judged rows of one recording.
  void add(const Observation& seen);
  /// What another has seen, of the same stage.
  void add(const ResidualPattern& more);

  /// "only positions 16-23 of 24; heads 4-8 of 9; 12 of 576 elements, every 48th from 3". Empty when every
  /// row is wrong all over.
  std::string text(Language language) const;

 private:
  int64_t rows_ = 0, wrong_rows_ = 0, width_ = 0, heads_ = 1;
  bool same_width_ = true;
  std::set<int64_t> positions_, wrong_positions_;
  std::set<int64_t> wrong_heads_, wrong_elements_;
  int64_t not_finite_ = 0;
  int64_t first_position_ = -1, first_element_ = -1;  // of what is not finite
};

/// "3", "0-7", "every 48th from 3", or the first few and a count.
std::string index_pattern(const std::set<int64_t>& indices, Language language);

}  // namespace greta
