#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "base/printable.h"
#include "base/utf8.h"
#include "report/whatif.h"

namespace greta::report {
namespace {

// Okabe and Ito's colours, which colour-blind readers tell apart (without yellow: too pale on white).
constexpr std::array kColours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                 "#e69f00", "#56b4e9", "#000000", "#777777"};
constexpr std::array kMarks = {"circle", "square", "triangle", "diamond"};

constexpr double kWidth = 720, kHeight = 400, kLeft = 70, kRight = 540, kTop = 48, kBottom = 350;

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : greta::printable(text)) {  // XML has no control characters
    switch (c) {
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '&': result += "&amp;"; break;
      case '"': result += "&quot;"; break;
      default: result += c;
    }
  }
  return result;
}

bool drawable(double value) { return std::isfinite(value) && value > 0; }

/// The plot's ranges: whole decades, and the traced layers.
struct Axes {
  int low = 0, high = 1;
  int first = 0, last = 0;

  explicit Axes(const WhatIf& result) {
    double least = INFINITY, most = 0;
    for (const UnitResult& unit : result.units) {
      for (const Drift& drift : unit.drift) {
        if (!drawable(drift.rel_l2)) continue;
        least = std::min(least, drift.rel_l2);
        most = std::max(most, drift.rel_l2);
      }
    }
    if (most > 0) {
      low = static_cast<int>(std::floor(std::log10(least)));
      high = std::max(low + 1, static_cast<int>(std::ceil(std::log10(most))));
    }
    if (!result.layers.empty()) {
      first = result.layers.front();
      last = result.layers.back();
    }
  }

  double x(double layer) const {
    return last == first ? (kLeft + kRight) / 2
                         : kLeft + 8 + (layer - first) / (last - first) * (kRight - kLeft - 16);
  }
  double y(double value) const {
    return kBottom - (std::log10(value) - low) / (high - low) * (kBottom - kTop);
  }
};

std::string text(double x, double y, const char* anchor, std::string_view what) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor,
                     escaped(what));
}

std::string line(double x1, double y1, double x2, double y2, const char* colour) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n", x1,
                     y1, x2, y2, colour);
}

std::string vertical_axis(const Axes& axes) {
  std::string svg;
  const int step = std::max(1, (axes.high - axes.low + 7) / 8);
  for (int power = axes.low; power <= axes.high; ++power) {
    const double y = axes.y(std::pow(10.0, power));
    svg += line(kLeft, y, kRight, y, "#ccc");
    if ((power - axes.low) % step == 0) svg += text(kLeft - 8, y + 4, "end", fmt::format("1e{}", power));
    if (power == axes.high || step > 1) continue;
    for (int digit = 2; digit < 10; ++digit) {
      const double minor = axes.y(digit * std::pow(10.0, power));
      svg += line(kLeft, minor, kLeft + 4, minor, "#888");
    }
  }
  return svg;
}

std::string horizontal_axis(const Axes& axes) {
  std::string svg;
  const int step = std::max(1, (axes.last - axes.first + 7) / 8);
  for (int layer = axes.first; layer <= axes.last; layer += step) {
    svg += line(axes.x(layer), kBottom, axes.x(layer), kBottom + 4, "#888");
    svg += text(axes.x(layer), kBottom + 18, "middle", std::to_string(layer));
  }
  return svg + text((kLeft + kRight) / 2, kBottom + 38, "middle", "layer");
}

/// Shapes tell lines apart where colours do not.
std::string mark(size_t unit, double x, double y) {
  switch (unit % kMarks.size()) {
    case 0: return fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.5\"/>", x, y);
    case 1:
      return fmt::format("<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"5\" height=\"5\"/>", x - 2.5, y - 2.5);
    case 2: return fmt::format("<path d=\"M{:.1f} {:.1f}l3 6h-6z\"/>", x, y - 3.5);
    default: return fmt::format("<path d=\"M{:.1f} {:.1f}l3.5 3.5-3.5 3.5-3.5-3.5z\"/>", x, y - 3.5);
  }
}

std::string curve(const UnitResult& unit, size_t index, const Axes& axes) {
  std::string points, marks;
  for (const Drift& drift : unit.drift) {
    if (!drawable(drift.rel_l2)) continue;
    const double x = axes.x(drift.layer), y = axes.y(drift.rel_l2);
    points += fmt::format("{}{:.1f},{:.1f}", points.empty() ? "" : " ", x, y);
    marks += mark(index, x, y) + "\n";
  }
  if (points.empty()) return "";
  const char* colour = kColours[index % kColours.size()];
  return fmt::format(
      "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\" points=\"{}\"/>\n<g fill=\"{}\">\n{}</g>\n",
      colour, points, colour, marks);
}

std::string legend(const WhatIf& result) {
  std::string svg;
  for (size_t i = 0; i < result.units.size(); ++i) {
    const UnitResult& unit = result.units[i];
    const double y = kTop + 12 + 22 * static_cast<double>(i);
    const char* colour = kColours[i % kColours.size()];
    svg += line(kRight + 16, y - 4, kRight + 40, y - 4, colour);
    svg += fmt::format("<g fill=\"{}\">{}</g>\n", colour, mark(i, kRight + 28, y - 4));
    const double last = unit.drift.empty() ? 0 : unit.drift.back().rel_l2;
    svg += text(kRight + 48, y, "start",
                fmt::format("{} {}", unit.device, last == 0 ? "0" : fmt::format("{:.1e}", last)));
  }
  const double below = kTop + 12 + 22 * static_cast<double>(result.units.size());
  return svg + text(kRight + 16, below, "start", "numbers: of the last layer");
}

}  // namespace

std::string whatif_svg(const WhatIf& result) {
  const Axes axes(result);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" width=\"{0}\" height=\"{1}\" "
      "font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n"
      "<title>Drift over layers</title>\n<rect width=\"{0}\" height=\"{1}\" fill=\"#fff\"/>\n",
      kWidth, kHeight);
  std::string model(utf8_head(result.model_name, 60));
  if (model.size() < result.model_name.size()) model += "...";
  svg += text(kLeft, 18, "start",
              "Drift: relative L2 of x_out, mean over positions, against " + std::string(kReferenceName));
  svg += text(kLeft, 35, "start", model);
  svg += vertical_axis(axes) + horizontal_axis(axes);
  svg += line(kLeft, kTop, kLeft, kBottom, "#888") + line(kLeft, kBottom, kRight, kBottom, "#888");
  for (size_t i = 0; i < result.units.size(); ++i) svg += curve(result.units[i], i, axes);
  return svg + legend(result) + "</svg>\n";
}

}  // namespace greta::report
