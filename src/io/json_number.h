#pragma once
// The one rule of our documents for numbers that JSON does not have.

#include <cmath>
#include <nlohmann/json.hpp>

namespace greta {

/// A number; "inf", "-inf" or "nan" where it is not finite: a string keeps it visible, where null would read
/// as "no data".
inline nlohmann::json json_number(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf";
}

}  // namespace greta
