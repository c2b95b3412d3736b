#pragma once
// Scores that an engine recorded before their scale or their mask (Event::unscaled, unmasked), as llama.cpp's
// "kq" is.

#include <optional>

#include "bundle/bundle.h"
#include "model/model.h"

namespace greta {

/// The bundle with all scores as attention uses them: times the model's scale, one rounding to f32 as of a
/// softmax that takes it, and -inf where a row does not see. nullopt where none were recorded otherwise.
std::optional<Bundle> with_scale_and_mask(const Bundle& bundle, const Model& model);

}  // namespace greta
