#pragma once
// Models of which GRETA does not know everything: an architecture without a row in the table, tensors or keys
// that change what it computes. Whoever runs a model needs all of it; whoever judges a recording judges what
// is known.

#include <string>
#include <utility>

#include "base/error.h"
#include "model/model.h"

namespace greta {

/// Why a sound file is no whole model for GRETA.
class NotKnown : public Error {
 public:
  explicit NotKnown(std::string message) : Error(ErrorKind::input, std::move(message)) {}
};

template <class... Args>
[[noreturn]] void fail_not_known(fmt::format_string<Args...> format, Args&&... args) {
  throw NotKnown(fmt::format(format, std::forward<Args>(args)...));
}

/// As open_model(), but what is not known is marked, not refused: `not_known` says why the model is no whole
/// one, is_known() tells its stages. Known then is what all architectures have alike: projections by their
/// weights, and RMS norms where the metadata have their epsilon. Throws an input Error for a damaged or
/// contradictory file, and where not even widths are known.
Model open_known_model(const std::string& path);

/// The same of an open file that bind_model() refuses for `why`.
Model bind_known(ModelFile file, std::string why);

}  // namespace greta
