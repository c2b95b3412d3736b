#pragma once
// A stage that an engine recorded in several events of one phase: by chunks of a prompt, or of a batch.

#include "bundle/bundle.h"

namespace greta {

/// The bundle with one event in the place of those of one stage, layer, phase and cell, with their rows by
/// position: rows of scores that span fewer positions are filled up with masked ones. Rows and events that
/// are there twice, with equal values, count once. Input Errors, which name the stage: rows at one position
/// that differ, kernels that differ, widths that differ, data that were not kept.
Bundle joined(Bundle bundle);

}  // namespace greta
