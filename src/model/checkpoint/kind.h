#pragma once
// Families of Hugging Face checkpoints as data: which architecture a model type is, and what its config.json
// and its tensors are called in GGUF's words. A further kind is a row, or a few.

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model/architecture.h"

namespace greta {

/// A number of config.json as a key of the architecture. Floats are rounded to f32: what GGUF keeps, and what
/// PyTorch computes with.
struct ConfigKey {
  enum class Kind { count, number, flag };
  const char* name;
  std::string_view key;  // after the architecture's name and a dot
  Kind kind = Kind::count;
  bool not_null = false;  // null is another computation than absence
};

/// What would change the computation, unless it is absent, null, false, zero or empty, or the kind has a key
/// of that name.
struct RefusedField {
  const char* name;
  std::string_view feature;
  double harmless = 0;
};

/// How the experts' matrices lie where those of all are one tensor.
enum class FusedExperts {
  halves,  // [experts, rows, columns]; gate's rows before up's
  turned,  // gpt-oss: [experts, columns, rows] unless they are quantised; gate's and up's rows by turns
};

struct CheckpointKind {
  std::string_view model_type;
  std::string_view architecture;
  std::string_view activation;  // hidden_act or hidden_activation
  bool tied = false;            // where tie_word_embeddings is absent
  double rope_base = 10000;     // where rope_theta is absent
  double norm_offset = 0;       // norms multiply by the weight and so much
  FusedExperts fused = FusedExperts::halves;
  bool sigmoid = false;  // experts are chosen by sigmoids, and biases
  std::span<const ConfigKey> keys = {};
};

/// nullptr when the type is not known.
const CheckpointKind* find_checkpoint_kind(std::string_view model_type);

/// Keys of every kind.
std::span<const ConfigKey> common_keys();
std::span<const RefusedField> refused_fields();

/// A tensor's name in GGUF; nullopt for a name that no table has.
std::optional<std::string> gguf_name(std::string_view name, const Architecture& architecture);
/// The inverse, for messages: the name itself where there is none.
std::string checkpoint_name(std::string_view gguf, const Architecture& architecture);

/// N of model.layers.N.
std::optional<int64_t> layer_of(std::string_view name);

/// Buffers and parts of a model that this program has no use for.
bool is_unused(std::string_view name);

}  // namespace greta
