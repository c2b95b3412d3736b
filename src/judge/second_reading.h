#pragma once
// The hyperparameters and the places of weights, read from the file once more, by other code than made the
// Model. Engine and judge compute by one Model: what is wrong there, no oracle can tell.

#include <string>
#include <vector>

#include "model/model.h"

namespace greta {

/// What both readings do not agree in, a line each: "attention.layer_norm_rms_epsilon is 1e-05 in one reading
/// of the file, 1e-06 in another". Empty where they agree, for an architecture that this does not know, and
/// for a half-known model.
std::vector<std::string> readings_that_differ(const Model& model);

}  // namespace greta
