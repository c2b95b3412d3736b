#include "model/stage.h"

namespace greta {

std::optional<Stage> stage_from_name(std::string_view name) {
  for (const StageInfo& row : kStageTable) {
    if (row.name == name) return row.stage;
  }
  return std::nullopt;
}

std::vector<At> operands_of(At at, int n_layer, const std::function<bool(At)>& has) {
  if (at.stage == Stage::x_in)
    return at.layer > 0 ? std::vector<At>{{at.layer - 1, Stage::x_out}} : std::vector<At>{};
  std::vector<At> operands;
  for (const Stage input : inputs_of(at.stage)) {
    At from = beside(at, input, n_layer);
    while (!has(from)) from.stage = inputs_of(from.stage).front();
    operands.push_back(from);
  }
  return operands;
}

}  // namespace greta
