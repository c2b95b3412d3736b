#pragma once
// Architectures as data: what a family's GGUF files name things, which shapes they have, and what of the
// family GRETA does not compute yet. A further architecture is an entry of the table in architecture.cpp and
// a test.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "model/model.h"

namespace greta {

/// A dimension of a weight, as an expression of the hyperparameters.
enum class Dim { one, n_embd, n_ff, n_vocab, q_width, kv_width };

/// Its size; q_width is n_head * head_dim, kv_width is n_head_kv * head_dim.
int64_t size_of(Dim dim, const ModelConfig& config);

enum class WeightUse { matrix, norm };  // norms are f32 vectors

/// A tensor of the whole model.
struct ModelTensor {
  std::string_view name;
  const GgufTensor* Model::*slot;
  Dim rows, columns;  // GGUF's dims[1] and dims[0]
  WeightUse use;
  bool optional = false;
};

/// A tensor of every layer N: blk.N.<name>.
struct LayerTensor {
  std::string_view name;
  const GgufTensor* LayerWeights::*slot;
  Dim rows, columns;
  WeightUse use;
};

/// A number under <architecture>.<key> that would change the computation: only `harmless` can be accepted.
struct RefusedKey {
  std::string_view key;
  double harmless;
  std::string_view feature;
};

/// A tensor whose presence would change the computation; "*" at the start or the end stands for any text.
struct RefusedTensor {
  std::string_view pattern;
  std::string_view feature;
};

struct Architecture {
  std::string_view name;  // general.architecture, and the prefix of its keys
  bool rope_adjacent;
  double default_rope_base;
  std::span<const ModelTensor> model_tensors;
  std::span<const LayerTensor> layer_tensors;
  std::span<const RefusedKey> refused_keys;
  std::span<const RefusedTensor> refused_tensors;
};

/// nullptr when the name is not known.
const Architecture* find_architecture(std::string_view name);

/// The known names, for messages: "llama, ...".
std::string architecture_names();

/// True when `name` is what `pattern` (of a RefusedTensor) stands for.
bool matches(std::string_view pattern, std::string_view name);

}  // namespace greta
