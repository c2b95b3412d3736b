#pragma once
// Architectures as data: what a family's GGUF files name things, which shapes they have, what its layers do
// in their own way, and what of it GRETA does not compute. A further architecture is an entry of the table in
// architecture.cpp and a test.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/model.h"

namespace greta {

/// A dimension of a weight, as an expression of the hyperparameters.
enum class Dim {
  one,
  n_embd,
  n_ff,
  n_vocab,
  n_head,
  q_width,
  kv_width,
  k_width,
  v_width,
  o_width,
  head_dim,
  q_rank,
  kv_rank,
  nope_dim,
  out_dim,
  n_ff_dense,
  rope_pairs,
  n_expert,
  n_ff_expert
};

/// Its size: q_width that of all queries, k_width and v_width those of what is projected of keys and values,
/// o_width of what Wo reads; kv_width is n_head_kv * head_dim, rope_pairs is rope_dims / 2.
int64_t size_of(Dim dim, const ModelConfig& config);

/// `experts`, `heads`: a matrix of each. All but these and matrices are f32 vectors, or (biases) a vector of
/// each expert.
enum class WeightUse { matrix, experts, heads, norm, bias, factors, sinks };
constexpr bool is_vector(WeightUse use) { return use > WeightUse::heads; }

/// A tensor of the whole model.
struct ModelTensor {
  std::string_view name;
  const Tensor* Model::*slot;
  Dim rows, columns;  // GGUF's dims[1] and dims[0]
  WeightUse use;
  bool optional = false;
};

/// A tensor of every layer N: blk.N.<name>. Entries of the same name that follow each other are row slices of
/// one fused tensor, in its order.
struct LayerTensor {
  std::string_view name;
  Stage stage;  // that it makes
  Dim rows, columns;
  WeightUse use;
  bool optional = false;
};

/// A positive number under <architecture>.<key>, read where present.
struct NumberKey {
  std::string_view key;
  double ModelConfig::*slot;
};

/// A number under <architecture>.<key> that would change the computation: only `harmless` can be accepted.
struct RefusedKey {
  std::string_view key;
  double harmless;
  std::string_view feature;
};

/// A tensor that would change the computation, where an architecture has no place for it; "*" at the start or
/// the end stands for any text.
struct RefusedTensor {
  std::string_view pattern;
  std::string_view feature;
};

/// Which layers keep to the window of attention.sliding_window.
enum class Windowed { none, all, local };  // none: a window shorter than the context is refused

struct Architecture {
  std::string_view name;  // general.architecture, and the prefix of its keys
  bool rope_adjacent;     // pairs (2i, 2i + 1), else halves (NeoX)
  std::span<const ModelTensor> model_tensors;
  std::array<std::span<const LayerTensor>, 6> layer_tensors;  // but for those of the feed-forward part
  std::span<const LayerTensor> ffn = {};                      // of a dense layer
  std::span<const LayerTensor> experts = {};                  // of one with experts; none: they are refused
  bool experts_sum_to_1 = true;                               // unless expert_weights_norm says otherwise
  Activation activation = Activation::silu;
  std::span<const NumberKey> number_keys = {};
  Windowed windowed = Windowed::none;
  // Layers n, 2n, ... (from 1) are global, the others local, where attention.sliding_window_pattern does
  // not say otherwise; 0: all global.
  int global_every = 0;
  bool yarn_whole_borders = true;       // between what YaRN leaves alone, mixes, and slows down
  double local_rope_base = 0;           // of local layers, whose positions are never scaled; 0: as all others
  int no_rope_every = 0;                // layers n, 2n, ... have no RoPE
  bool embedding_scaled = false;        // by sqrt(n_embd)
  bool latent = false;                  // multi-head latent attention, and experts as DeepSeek has them
  int64_t width_scaled_layers = 0;      // models of so many layers scale scores by 1/sqrt(n_embd / n_head)
  double score_cap = 0, logit_cap = 0;  // where the file does not say otherwise
};

/// The tensors that a layer of a model has.
std::vector<std::span<const LayerTensor>> layer_tensors(const Architecture& architecture,
                                                        const ModelConfig& config, int64_t layer);

/// What no architecture of the table computes (unless it reads the key itself).
std::span<const RefusedKey> refused_keys();
std::span<const RefusedTensor> refused_tensors();

/// Tensors that most architectures have alike, optional ones among them: what is known of an unknown one.
const Architecture& common_architecture();

/// nullptr when the name is not known.
const Architecture* find_architecture(std::string_view name);

/// The known names, for messages: "llama, ...".
std::string architecture_names();

/// True when `name` is what `pattern` (of a RefusedTensor) stands for.
bool matches(std::string_view pattern, std::string_view name);

}  // namespace greta
