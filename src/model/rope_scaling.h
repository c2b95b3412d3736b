#pragma once
// How RoPE is stretched beyond the context that a model was trained with.

#include <compare>

namespace greta {

/// YaRN (Peng et al. 2023, "YaRN: Efficient Context Window Extension", section 3): pairs that turn less than
/// beta_slow times within the original context are slowed down by the factor, those that turn more than
/// beta_fast times are left alone, and between these borders both are mixed.
struct YarnRope {
  double factor = 1;    // 1: no YaRN
  double original = 0;  // positions
  double beta_fast = 32, beta_slow = 1;
  bool whole_borders = true;  // the borders are rounded outwards to whole pairs

  auto operator<=>(const YarnRope&) const = default;
};

}  // namespace greta
