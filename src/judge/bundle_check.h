#pragma once
// Whether a bundle from anywhere can be judged by a model, before anything is judged.

#include <string>

#include "bundle/bundle.h"
#include "model/model.h"

namespace greta {

/// Sets the model's context as the manifest says, or as the recorded positions show. An input Error, one line
/// that says what, where and what to do, when the bundle was recorded with another
/// model file (its hash), when a stage's layer or width does not fit the model, or when it is damaged (notes
/// of the reader, though the run was complete). `force` lets the first and the last pass. What was taken for
/// granted of the context, or nothing: for the user to read.
[[nodiscard]] std::string check_bundle(const Bundle& bundle, Model& model, bool force);

/// The last of these checks alone: no model is needed.
void check_intact(const Bundle& bundle, bool force);

}  // namespace greta
