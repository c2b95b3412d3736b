#include "verdict/same_cause.h"

#include <algorithm>
#include <string>
#include <utility>

namespace greta {
namespace {

/// In either order.
std::pair<std::string, std::string> rivals_of(const Finding& finding) {
  if (finding.cause != Cause::ambiguous) return {};
  return std::minmax(finding.best, finding.runner_up);
}

bool share_a_kernel(const Finding& a, const Finding& b) {
  return std::ranges::any_of(a.kernels, [&](const std::string& kernel) {
    return std::ranges::find(b.kernels, kernel) != b.kernels.end();
  });
}

}  // namespace

bool is_same_cause(const Finding& a, const Finding& b) {
  if (a.phase != b.phase || a.hypothesis() != b.hypothesis() || a.gap != b.gap) return false;
  if (rivals_of(a) != rivals_of(b) || a.difference.has_value() != b.difference.has_value()) return false;
  if (a.stage == b.stage) return (a.layer == kNoLayer) == (b.layer == kNoLayer);
  if (a.difference || info(a.stage).kind != info(b.stage).kind) return false;
  if (a.cause == Cause::unexplained) return !a.kernels.empty() && a.kernels == b.kernels;
  return a.family == CauseFamily::weight || share_a_kernel(a, b);
}

std::vector<std::vector<size_t>> by_cause(std::span<const Finding> findings) {
  std::vector<std::vector<size_t>> causes;
  for (size_t i = 0; i < findings.size(); ++i) {
    const auto same = std::ranges::find_if(causes, [&](const std::vector<size_t>& cause) {
      return std::ranges::any_of(cause,
                                 [&](size_t other) { return is_same_cause(findings[other], findings[i]); });
    });
    if (same == causes.end()) {
      causes.push_back({i});
    } else {
      same->push_back(i);
    }
  }
  return causes;
}

}  // namespace greta
