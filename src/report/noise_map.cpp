#include "report/noise_map.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string_view>

namespace greta::report {
namespace {

constexpr size_t kMargin = 5;  // of the layer's number

std::string trimmed(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

/// Between columns; none where that many do not fit a terminal.
std::string_view gap_between(size_t columns) {
  constexpr size_t kTerminal = 80;
  return kMargin + 2 * columns <= kTerminal ? " " : "";
}

/// The names written downwards, ending above their columns.
std::string heading(const std::vector<Stage>& stages) {
  size_t height = 0;
  const std::string_view gap = gap_between(stages.size());
  for (const Stage stage : stages) height = std::max(height, name(stage).size());
  std::string text;
  for (size_t row = 0; row < height; ++row) {
    std::string line(kMargin, ' ');
    for (const Stage stage : stages) {
      const std::string_view word = name(stage);
      const size_t above = height - word.size();
      line += fmt::format("{}{}", gap, row < above ? ' ' : word[row - above]);
    }
    text += trimmed(line);
  }
  return text;
}

}  // namespace

char noise_mark(double ratio) {
  if (!std::isfinite(ratio)) return '#';
  if (ratio <= 0.5) return '.';
  if (ratio <= 1) return ':';
  const int power = std::max(1, static_cast<int>(std::ceil(std::log10(ratio))));
  if (power <= 9) return static_cast<char>('0' + power);
  return static_cast<char>('A' + std::min(power - 10, 25));
}

NoiseMap noise_map(const Verdict& verdict, Phase phase) {
  std::map<std::pair<int, Stage>, double> ratios;
  std::set<Stage> stages, outside;
  std::set<int> layers;
  for (const StageNoise& noise : verdict.noise) {
    if (noise.phase != phase) continue;
    ratios[{noise.layer, noise.stage}] = noise.ratio;
    (noise.layer == kNoLayer ? outside : stages).insert(noise.stage);
    if (noise.layer != kNoLayer) layers.insert(noise.layer);
  }
  NoiseMap map{.phase = phase, .layers = {layers.begin(), layers.end()}};
  map.stages.assign(stages.begin(), stages.end());
  for (const int layer : layers) {
    std::vector<std::optional<double>>& row = map.ratios.emplace_back();
    for (const Stage stage : stages) {
      const auto found = ratios.find({layer, stage});
      row.push_back(found == ratios.end() ? std::nullopt : std::optional(found->second));
    }
  }
  for (const Stage stage : outside) map.outside.emplace_back(stage, ratios[{kNoLayer, stage}]);
  return map;
}

std::string drawn(const NoiseMap& map) {
  std::string text = map.layers.empty() ? "" : heading(map.stages);
  for (size_t i = 0; i < map.layers.size(); ++i) {
    text += fmt::format("{:>{}}", map.layers[i], kMargin);
    for (const std::optional<double>& ratio : map.ratios[i])
      text += fmt::format("{}{}", gap_between(map.stages.size()), ratio ? noise_mark(*ratio) : '-');
    text += "\n";
  }
  std::string last;
  for (const auto& [stage, ratio] : map.outside)
    last += fmt::format("  {} {}", name(stage), noise_mark(ratio));
  return last.empty() ? text : text + trimmed(std::string(kMargin - 1, ' ') + last);
}

}  // namespace greta::report
