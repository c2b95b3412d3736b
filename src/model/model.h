#pragma once
// A model: its hyperparameters and its weights by role, checked against each other. Data, no behaviour: how
// it is computed is the planner's business (engine/planner.h).

#include <bitset>
#include <cstdint>
#include <list>
#include <string>
#include <vector>

#include "model/gguf.h"
#include "model/stage.h"

namespace greta {

/// Of the gate: silu, or GELU in its tanh form.
enum class Activation { silu, gelu };

/// What one layer does in its own way.
struct LayerConfig {
  std::bitset<kStageCount> lacks = {};  // stages that it does not have: each passes its first input on
  double rope_base = 0;                 // of layers without one of their own
  double rope_scale = 1;                // of positions: linear scaling by a factor f is 1 / f
  int64_t window = 0;                   // positions that a row sees, its own included; 0: all before it
};

struct ModelConfig {
  std::string architecture;  // general.architecture
  std::string name;          // general.name, or the file's name
  int64_t n_layer = 0;
  int64_t n_embd = 0;
  int64_t n_ff = 0;
  int64_t n_head = 0;
  int64_t n_head_kv = 0;
  int64_t head_dim = 0;
  int64_t n_vocab = 0;
  int64_t n_ctx = 0;  // the context that the model was trained for
  double norm_eps = 0;
  double rope_base = 0;
  int64_t rope_dims = 0;      // rotated dims of a head, even
  bool rope_adjacent = true;  // pairs (2i, 2i+1); false: halves (NeoX)
  bool tied_output = false;   // logits use the embedding table
  Activation activation = Activation::silu;
  double embedding_scale = 1;
  double attention_scale = 0;  // of scores: 1 / sqrt(head_dim), unless the model says otherwise
  double residual_scale = 1;   // of both branches as they are added
  double logit_divisor = 1;
  std::vector<LayerConfig> layers;

  const LayerConfig& layer(int n) const { return layers.at(static_cast<size_t>(n)); }
};

/// Whether the layer has the stage; what is outside the layers is always there.
bool has_stage(const ModelConfig& config, Stage stage, int layer);

/// inputs_of(stage) in this layer: in the place of a stage that it lacks, what that one passes on.
std::vector<Stage> inputs_of(const ModelConfig& config, Stage stage, int layer);

/// The weights of one layer; names in GGUF: blk.N.<role>.weight. nullptr where the model has none.
struct LayerWeights {
  const GgufTensor* attn_norm = nullptr;  // [n_embd]
  const GgufTensor* q = nullptr;          // [n_head * head_dim, n_embd]
  const GgufTensor* k = nullptr;          // [n_head_kv * head_dim, n_embd]
  const GgufTensor* v = nullptr;          // [n_head_kv * head_dim, n_embd]
  const GgufTensor* attn_out = nullptr;   // [n_embd, n_head * head_dim]
  const GgufTensor* ffn_norm = nullptr;   // [n_embd]
  const GgufTensor* gate = nullptr;       // [n_ff, n_embd]
  const GgufTensor* up = nullptr;         // [n_ff, n_embd]
  const GgufTensor* down = nullptr;       // [n_embd, n_ff]
  const GgufTensor* q_bias = nullptr;     // [n_head * head_dim]
  const GgufTensor* k_bias = nullptr;     // [n_head_kv * head_dim]
  const GgufTensor* v_bias = nullptr;     // [n_head_kv * head_dim]
  const GgufTensor* q_norm = nullptr;     // [head_dim]: of every head; or of all at once, [n_head * head_dim]
  const GgufTensor* k_norm = nullptr;     // the same of k
  const GgufTensor* attn_post_norm = nullptr;  // [n_embd]
  const GgufTensor* ffn_post_norm = nullptr;   // [n_embd]
};

/// Some rows of a matrix of the file, as a tensor of its own.
struct TensorSlice {
  std::string name;
  GgufTensor tensor;
};

struct Model {
  Gguf file;
  ModelConfig config;
  const GgufTensor* token_embd = nullptr;   // [n_vocab, n_embd]
  const GgufTensor* output_norm = nullptr;  // [n_embd]
  const GgufTensor* output = nullptr;       // [n_vocab, n_embd]; token_embd when tied
  const GgufTensor* rope_freqs = nullptr;   // [rope_dims / 2]: each pair's frequency is divided by its value
  std::vector<LayerWeights> layers;
  std::list<TensorSlice> slices;  // of fused tensors; weights point to them
};

/// The weight that makes a stage: a projection's matrix, a norm's vector; nullptr for other stages and layers
/// that the model does not have.
const GgufTensor* weight_of(const Model& model, Stage stage, int layer);

/// The bias of a projection; nullptr where the model has none.
const GgufTensor* bias_of(const Model& model, Stage stage, int layer);

/// Binds and checks: known architecture, every hyperparameter in range and in agreement with the others,
/// every tensor present, of a known weight type and of the shape that the hyperparameters demand. Throws an
/// input Error naming the key or tensor, what it is and what it must be.
Model bind_model(Gguf file);

inline Model open_model(const std::string& path) { return bind_model(Gguf::open(path)); }

}  // namespace greta
