#include "judge/cell_view.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <tuple>

namespace greta {

namespace {

std::vector<At> inputs_here(const PhaseView& view, const ModelConfig* config, At at, int n_layer) {
  return operands_of(at, n_layer, [&](At input) {
    if (config != nullptr) return has_stage(*config, input);
    return !few_have(input.stage) || view.find(input) != nullptr;
  });
}

}  // namespace

PhaseView::PhaseView(const Bundle& bundle, const CellKey& cell, const std::string& phase)
    : bundle_(bundle), cell_(cell), phase_(phase) {
  for (const Event& event : bundle.events) {
    if (event.phase == phase && event.prompt_id == cell.prompt && event.experiment == cell.experiment)
      add(event);
  }
}

std::vector<PhaseView> PhaseView::all_of(const Bundle& bundle) {
  std::vector<PhaseView> views;
  std::map<std::tuple<std::string_view, std::string_view, std::string_view>, size_t> places;
  for (const Event& event : bundle.events) {
    const auto [place, fresh] =
        places.try_emplace({event.experiment, event.prompt_id, event.phase}, views.size());
    if (fresh) views.push_back(PhaseView(bundle, event, Empty{}));
    views[place->second].add(event);
  }
  return views;
}

void PhaseView::add(const Event& event) {
  const std::optional<Stage> stage = stage_from_name(event.stage);
  if (!stage) return;
  events_[{event.layer, *stage}] = &event;
  recorded_[static_cast<size_t>(*stage)] = true;
  const std::vector<int64_t>& positions = event.positions;  // two are a range
  const bool several = positions.size() == 2 ? positions[1] > positions[0] : positions.size() > 2;
  several_rows_ = several_rows_ || (several && info(*stage).row_per != RowPer::cache);
}

const Event* PhaseView::find(At at) const {
  const auto it = events_.find(at);
  return it == events_.end() ? nullptr : it->second;
}

const std::vector<float>* PhaseView::data(At at) const {
  const Event* event = find(at);
  return event == nullptr ? nullptr : bundle_.data(*event);
}

std::vector<At> recorded_inputs(const PhaseView& view, const ModelConfig* config, At at, int n_layer) {
  std::vector<At> inputs = inputs_here(view, config, at, n_layer);
  std::erase_if(inputs, [&](At input) { return view.find(input) == nullptr; });
  return inputs;
}

bool skips_layer_before(const PhaseView& view, At at) {
  const At before{at.layer - 1, Stage::x_in};
  if (at.stage != Stage::x_in || at.layer < 1 || view.find({at.layer - 1, Stage::x_out}) != nullptr)
    return false;
  const Event *own = view.find(at), *other = view.find(before);
  if (own == nullptr || other == nullptr || own->hash != other->hash) return false;
  return std::ranges::any_of(view.events(), [&](const auto& entry) {
    return entry.first.layer == before.layer && entry.first.stage != Stage::x_in;
  });
}

bool is_given(const PhaseView& view, At at) {
  return at.stage == Stage::x_in && at.layer > 0 && view.find({at.layer - 1, Stage::x_out}) == nullptr &&
         !skips_layer_before(view, at);
}

bool inputs_complete(const PhaseView& view, const ModelConfig* config, At at, int n_layer) {
  return recorded_inputs(view, config, at, n_layer).size() == inputs_here(view, config, at, n_layer).size();
}

}  // namespace greta
