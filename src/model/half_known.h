#pragma once
// Models of which GRETA does not know everything: an architecture without a row in the table, tensors or keys
// that change what it computes. Whoever runs a model needs all of it; whoever judges a recording judges what
// is known.

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "model/model.h"

namespace greta {

struct Architecture;

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
/// one, is_known() tells its stages. Of an architecture that is known all is, but what a tensor without a
/// place in it may change; else what all architectures have alike: projections by their weights, and RMS
/// norms where the metadata have their epsilon. Throws an input Error for a damaged or contradictory file,
/// and where not even widths are known.
Model open_known_model(const std::string& path);

/// The same of an open file that bind_model() refuses for `why`.
Model bind_known(ModelFile file, std::string why);

/// A known architecture's model whose file has further tensors: all of it, but for the stages that these may
/// change. nullopt, and the file as it was, where more than that is strange.
std::optional<Model> bind_beside_strange(ModelFile& file);

/// Marks what a tensor without a place may change as unknown; false where that may be anything.
bool mark_strange(std::string_view tensor, const Architecture& architecture, ModelConfig& config);

}  // namespace greta
