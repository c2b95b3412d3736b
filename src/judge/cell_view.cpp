#include "judge/cell_view.h"

namespace greta {

PhaseView::PhaseView(const Bundle& bundle, const CellKey& cell, const std::string& phase)
    : bundle_(bundle), cell_(cell), phase_(phase) {
  for (const Event& event : bundle.events) {
    if (event.phase != phase || event.key() != cell) continue;
    const std::optional<Stage> stage = stage_from_name(event.stage);
    if (stage) events_[{event.layer, *stage}] = &event;
  }
}

const Event* PhaseView::find(Stage stage, int layer) const {
  const auto it = events_.find({layer, stage});
  return it == events_.end() ? nullptr : it->second;
}

const std::vector<float>* PhaseView::data(Stage stage, int layer) const {
  const Event* event = find(stage, layer);
  return event == nullptr ? nullptr : bundle_.data(*event);
}

namespace {

/// What the stage is computed from. Without a model, a norm after a projection is there if it was recorded:
/// most models have none.
std::vector<Stage> inputs_here(const PhaseView& view, const ModelConfig* config, Stage stage, int layer) {
  if (config != nullptr) return inputs_of(*config, stage, layer);
  std::vector<Stage> inputs;
  for (Stage input : inputs_of(stage)) {
    if (is_norm_of_projection(input) && view.find(input, layer) == nullptr) input = inputs_of(input).front();
    inputs.push_back(input);
  }
  return inputs;
}

}  // namespace

std::vector<std::pair<Stage, int>> recorded_inputs(const PhaseView& view, const ModelConfig* config,
                                                   Stage stage, int layer, int last_layer) {
  std::vector<std::pair<Stage, int>> inputs;
  if (stage == Stage::x_in) {
    if (layer > 0 && view.find(Stage::x_out, layer - 1) != nullptr)
      inputs.emplace_back(Stage::x_out, layer - 1);
    return inputs;
  }
  for (const Stage input : inputs_here(view, config, stage, layer)) {
    const int at = is_outside_layers(stage) && !is_outside_layers(input) ? last_layer : layer;
    if (view.find(input, at) != nullptr) inputs.emplace_back(input, at);
  }
  return inputs;
}

bool inputs_complete(const PhaseView& view, const ModelConfig* config, Stage stage, int layer,
                     int last_layer) {
  const size_t recorded = recorded_inputs(view, config, stage, layer, last_layer).size();
  if (stage == Stage::x_in) return layer == 0 || recorded == 1;
  return recorded == inputs_of(stage).size();
}

}  // namespace greta
