#include "judge/error_picture.h"

#include <algorithm>

#include "numerics/noise.h"

namespace greta {
namespace {

constexpr int64_t kMostFields = 256;  // rows x heads
constexpr int64_t kBeside = 8;        // values: the aligned eight that the worst is one of

/// Counting is faster than a search: there are many elements.
size_t bin_of(double ratio) {
  size_t bin = 0;
  for (const double edge : kErrorEdges) bin += ratio > edge;
  return bin;
}

/// The first rows that fit, and the worst.
std::vector<int64_t> shown_rows(int64_t rows, int64_t most, int64_t worst) {
  std::vector<int64_t> shown;
  for (int64_t row = 0; row < std::min(rows, most); ++row) shown.push_back(row);
  if (worst >= most) shown.back() = worst;
  return shown;
}

}  // namespace

ErrorPicture error_picture(const PhaseRecord& phase, At at, const Trial& trial) {
  const auto& [subject, right] = trial;
  const std::vector<int64_t>& positions = subject.problem->positions;
  ErrorPicture picture;
  picture.rows = std::ssize(positions);
  picture.heads = row_heads(at.stage, phase.model->config);
  const int64_t fields = picture.rows * picture.heads;
  const int64_t width = std::ssize(subject.observed) / picture.rows, each = width / picture.heads;
  std::vector<double> ratios(static_cast<size_t>(fields), 0);
  double most = -1;
  int64_t worst = 0;
  for (int64_t i = 0; i < std::ssize(subject.observed); ++i) {
    const size_t at_i = static_cast<size_t>(i);
    if (!right.tells(at_i)) continue;
    const double ratio = element_noise_ratio(subject.observed[at_i], right.value[at_i], right.bound[at_i]);
    ++picture.histogram[bin_of(ratio)];
    double& field = ratios[static_cast<size_t>(std::min(i / each, fields - 1))];
    field = std::max(field, ratio);
    if (ratio > most) {
      most = ratio;
      worst = i;
    }
  }
  const int64_t row = worst / width, first = worst % width / kBeside * kBeside;
  picture.position = positions[static_cast<size_t>(row)];
  for (const int64_t shown :
       shown_rows(picture.rows, std::max<int64_t>(1, kMostFields / picture.heads), row)) {
    picture.positions.push_back(positions[static_cast<size_t>(shown)]);
    const auto begin = ratios.begin() + shown * picture.heads;
    picture.ratios.insert(picture.ratios.end(), begin, begin + picture.heads);
  }
  for (int64_t element = first; element < std::min(first + kBeside, width); ++element) {
    const size_t i = static_cast<size_t>(row * width + element);
    picture.values.push_back({element, subject.observed[i], right.value[i], right.bound[i]});
  }
  return picture;
}

}  // namespace greta
