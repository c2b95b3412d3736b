#pragma once
// A trial as it is shown to people.

#include "judge/stage_oracle.h"
#include "verdict/error_picture.h"

namespace greta {

/// Of all judged rows; of their values and heads a part that fits a screen.
ErrorPicture error_picture(const PhaseRecord& phase, At at, const Trial& trial);

}  // namespace greta
