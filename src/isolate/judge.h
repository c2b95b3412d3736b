#pragma once
// From a bundle and the model file to a verdict. Nothing else is seen: any engine that writes bundles gets
// the same.

#include "isolate/verdict.h"
#include "model/model.h"
#include "trace/bundle.h"

namespace greta::isolate {

/// Compares prefill_last with decode0 in every cell, stage and layer of `bundle`. A pair whose inputs are
/// equal in both phases is judged: EQUAL, ROUNDING (both sides within their bounds), else FAULT, with the
/// phase that the oracle convicts. A pair whose inputs already differ is PROPAGATED. Fills cells, pairs,
/// findings, flags, coverage, status and exit code.
Verdict judge(const trace::Bundle& bundle, const Model& model);

}  // namespace greta::isolate
