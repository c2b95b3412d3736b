#include "verdict/metamorphic.h"

#include <fmt/format.h>

#include <algorithm>

namespace greta {

std::string_view name(CheckResult result) {
  switch (result) {
    case CheckResult::passed: return "passed";
    case CheckResult::failed: return "failed";
    case CheckResult::not_applicable: return "not_applicable";
  }
  return "?";
}

std::string place(const Deviation& d) {
  const std::string layer = d.layer == kNoLayer ? "" : fmt::format("layer {}, ", d.layer);
  return fmt::format("{}position {}, {}[{}] ({} token{})", layer, d.position, d.what, d.element, d.length,
                     d.length == 1 ? "" : "s");
}

std::string values(const Deviation& d) {
  return fmt::format("{:.9g}, expected {:.9g}", d.observed, d.expected);
}

CheckResult MetamorphicCheck::result() const {
  if (cases.empty()) return CheckResult::not_applicable;
  const bool failed = std::any_of(cases.begin(), cases.end(), [](const CheckCase& c) { return c.deviation; });
  return failed ? CheckResult::failed : CheckResult::passed;
}

int count(const std::vector<MetamorphicCheck>& checks, CheckResult result) {
  return static_cast<int>(std::count_if(
      checks.begin(), checks.end(), [=](const MetamorphicCheck& check) { return check.result() == result; }));
}

}  // namespace greta
