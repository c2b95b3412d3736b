#pragma once
// An error picture as JSON, for the files in which GRETA keeps results for itself.

#include <nlohmann/json.hpp>

#include "verdict/error_picture.h"

namespace greta {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ErrorPicture::Value, element, observed, expected, bound)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ErrorPicture, positions, rows, heads, ratios, histogram, position, values)

}  // namespace greta
