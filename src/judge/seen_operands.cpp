#include "judge/seen_operands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "numerics/activation.h"

namespace greta {
namespace {

const SeenOperand* seen_operand(const PhaseRecord& phase, At at, At operand) {
  const Event* event = phase.view.find(at);
  if (event == nullptr) return nullptr;
  const auto it = std::ranges::find(event->operands, name(operand.stage), &SeenOperand::stage);
  return it == event->operands.end() ? nullptr : &*it;
}

size_t width_of(const OtherOperand& operand) { return operand.rows.size() / operand.positions.size(); }

std::string place(const Event& event, const PhaseRecord& here) {
  std::string text =
      event.layer == kNoLayer ? event.stage : fmt::format("{} of layer {}", event.stage, event.layer);
  if (event.phase != here.view.phase()) text += " in " + event.phase;
  if (event.prompt_id != here.view.cell().prompt) text += " of prompt " + event.prompt_id;
  return text;
}

constexpr size_t kRun = 32;  // what shares a scale

/// Whatever the rule, most elements stay near; of a stale run or another one's hardly any are.
bool mostly_near(std::span<const float> right, std::span<const float> seen) {
  constexpr float kNear = 0.02f;  // of the largest: two and a half steps of int8
  float largest = 0;
  for (const float x : right) largest = std::max(largest, std::abs(x));
  size_t near = 0;
  for (size_t i = 0; i < right.size(); ++i) near += std::abs(seen[i] - right[i]) <= kNear * largest;
  return 2 * near >= right.size();
}

/// In the phase itself, if some are there, else elsewhere.
const Event* recorded_as(const OtherOperand& operand, const PhaseRecord& here) {
  const Event* elsewhere = nullptr;
  for (const Event& event : here.view.bundle().events) {
    const std::vector<float>* data = event.stage.empty() ? nullptr : here.view.bundle().data(event);
    if (data == nullptr || !is_rounding(*data, width_of(operand), operand.format, operand.rows)) continue;
    if (event.phase == here.view.phase() && event.key() == here.view.cell()) return &event;
    if (elsewhere == nullptr) elsewhere = &event;
  }
  return elsewhere;
}

}  // namespace

std::vector<OtherOperand> other_operands(const PhaseRecord& phase, At at) {
  std::vector<OtherOperand> others;
  const std::vector<At> operands = operands_at(phase.model->config, at);
  for (size_t i = 0; i < operands.size(); ++i) {
    const SeenOperand* seen = seen_operand(phase, at, operands[i]);
    const Event* made = phase.view.find(operands[i]);
    if (seen == nullptr || made == nullptr || seen->hash == made->hash) continue;
    const auto& kept = phase.view.bundle().tensors;
    const auto rows = kept.find(seen->hash);
    const std::vector<int64_t> positions = recorded_positions(phase, operands[i]);
    const auto recorded = recorded_rows(phase, operands[i], positions);
    if (rows == kept.end() || !recorded || recorded->size() != rows->second->size()) continue;
    others.push_back({.index = i,
                      .at = operands[i],
                      .format = format_from_name(seen->dtype).value_or(Format::f32),
                      .rows = SharedRows::of(*rows->second),
                      .positions = positions});
  }
  return others;
}

bool was_read(const PhaseRecord& phase, At at, At operand) {
  const SeenOperand* seen = seen_operand(phase, at, operand);
  const Event* made = phase.view.find(operand);
  return seen != nullptr && made != nullptr && seen->hash == made->hash;
}

bool is_rounded_otherwise(const OtherOperand& operand, const PhaseRecord& here, double* off) {
  if (operand.format == Format::f32 || recorded_as(operand, here) != nullptr) return false;
  const auto recorded = recorded_rows(here, operand.at, operand.positions);
  if (!recorded || recorded->size() != operand.rows.size()) return false;
  const std::span right(recorded->begin(), recorded->size()), seen(operand.rows.begin(), operand.rows.size());
  double distance = 0, length = 0;
  for (size_t i = 0; i < seen.size(); ++i) {
    const auto x = static_cast<double>(right[i]), error = static_cast<double>(seen[i]) - x;
    distance += error * error;
    length += x * x;
  }
  *off = length > 0 ? std::sqrt(distance / length) : 1;
  for (size_t begin = 0; begin < seen.size(); begin += kRun) {
    const size_t count = std::min(kRun, seen.size() - begin);
    if (!mostly_near(right.subspan(begin, count), seen.subspan(begin, count))) return false;
  }
  return true;
}

Text what_was_read(const OtherOperand& operand, const PhaseRecord& here) {
  const bool zeros = std::ranges::all_of(operand.rows, [](float x) { return x == 0; });
  if (zeros) return {"zeros", "ceros"};
  if (const Event* event = recorded_as(operand, here)) {
    const std::string text = place(*event, here);
    return {text, text};
  }
  const std::vector<float>* made = here.view.data(operand.at);
  const bool comparable =
      made != nullptr && made->size() == operand.rows.size() && operand.format == Format::f32;
  if (!comparable) return {"rows that no recorded stage left", "filas que ninguna etapa grabada dejó"};
  int64_t changed = 0;
  for (size_t i = 0; i < made->size(); ++i) changed += (*made)[i] != operand.rows[i];
  return {fmt::format("rows that differ in {} of {} elements", changed, made->size()),
          fmt::format("filas que difieren en {} de {} elementos", changed, made->size())};
}

}  // namespace greta
