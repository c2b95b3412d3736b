#pragma once
// The layer x stage map of noise ratios, as text.

#include <string>

#include "report/report.h"

namespace greta::report {

/// '.' up to 0.5, ':' up to 1 (rounding), '1'..'9' up to 10^n, 'A'.. from 10^10 on, '#' infinite or NaN.
char noise_mark(double ratio);

/// One phase: a heading of stage names, read downwards; one row per layer; a line for the stages outside the
/// layers. At most 80 columns. Empty when nothing of the phase was judged.
std::string noise_map(const Verdict& verdict, Phase phase);

}  // namespace greta::report
