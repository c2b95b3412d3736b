#include "model/stage.h"

#include <algorithm>

namespace greta {

std::optional<Stage> stage_from_name(std::string_view name) {
  for (const StageInfo& row : kStageTable) {
    if (row.name == name) return row.stage;
  }
  return std::nullopt;
}

/// `from`, or what it passes on.
static At passed_on(At from, const std::function<bool(At)>& has) {
  while (!has(from)) {
    const auto inputs = inputs_of(from.stage);
    const auto there = std::find_if(inputs.begin(), inputs.end(), [&](Stage input) {
      return has({from.layer, input});
    });
    from.stage = there == inputs.end() ? inputs.front() : *there;
  }
  return from;
}

std::vector<At> operands_of(At at, int n_layer, const std::function<bool(At)>& has) {
  if (at.stage == Stage::x_in)
    return at.layer > 0 ? std::vector<At>{{at.layer - 1, Stage::x_out}} : std::vector<At>{};
  std::vector<At> operands;
  for (const Stage input : inputs_of(at.stage))
    operands.push_back(passed_on(beside(at, input, n_layer), has));
  return operands;
}

}  // namespace greta
