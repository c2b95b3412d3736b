#pragma once
// B3.32, the step after B3.31:
// is the projections' input the same in both phases, and if a norm is at fault, what of it?

#include "report/writer.h"

namespace greta::report {

/// B3.31's table under its heading; where attn_norm of the first traced layer was recorded in both phases,
/// its MAE and hashes (first 8 digits) per cell; and for each finding at a norm the norm hypotheses tried,
/// best first.
void add_first_layer(const Writer& writer, Document& document);

}  // namespace greta::report
