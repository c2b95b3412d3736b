#pragma once
// The layer x stage map of noise ratios, as data and as text.

#include <string>

#include "report/document.h"
#include "verdict/verdict.h"

namespace greta::report {

/// '.' up to 0.5, ':' up to 1 (rounding), '1'..'9' up to 10^n, 'A'.. from 10^10 on, '#' infinite or NaN.
char noise_mark(double ratio);

/// One phase, without a caption. Empty when nothing of the phase was judged.
NoiseMap noise_map(const Verdict& verdict, Phase phase);

/// A heading of stage names, read downwards; one row per layer; a line for the stages outside the layers. At
/// most 80 columns.
std::string drawn(const NoiseMap& map);

}  // namespace greta::report
