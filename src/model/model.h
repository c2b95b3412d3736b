#pragma once
// A model: its hyperparameters and its weights by role, checked against each other. Data, no behaviour: how
// it is computed is the planner's business (engine/planner.h).

#include <array>
#include <bitset>
#include <cstdint>
#include <list>
#include <string>
#include <tuple>
#include <vector>

#include "model/model_file.h"
#include "model/rope_scaling.h"
#include "model/stage.h"

namespace greta {

/// Of the gate g: silu, or GELU in its tanh form, times up; swiglu_oai (gpt-oss): g at most 7, up within
/// +-7, then g sigmoid(1.702 g) (up + 1).
enum class Activation { silu, gelu, swiglu_oai };

/// What one layer does in its own way.
struct LayerConfig {
  std::bitset<kStageCount> lacks = {};  // stages that it does not have: each passes its first input on
  double rope_base = 0;                 // of layers without one of their own
  double rope_scale = 1;                // of positions: linear scaling by a factor f is 1 / f
  double rope_magnitude = 1;            // of cosines and sines
  YarnRope yarn = {};
  int64_t window = 0;                     // positions that a row sees, its own included; 0: all before it
  std::bitset<kStageCount> unknown = {};  // stages that GRETA does not know how to compute here

  /// Layers with one of it share their angles.
  auto rope_key() const { return std::tuple(rope_base, rope_scale, rope_magnitude, yarn); }
};
using RopeKey = decltype(LayerConfig().rope_key());

/// Multi-head latent attention (DeepSeek-V2, 2024, section 2.1), computed in its absorbed form: the cache
/// holds one latent and one rotated key for all heads. Widths; kv_rank is 0 in other models.
struct LatentAttention {
  int64_t kv_rank = 0;  // of the latent: a head's value
  int64_t q_rank = 0;   // 0: q is projected from attn_norm
  int64_t nope = 0;     // of a head of q, before the part that turns
  int64_t out = 0;      // of a head that Wo reads
};

/// How experts are chosen, beside by the highest scores (DeepSeek-V3, 2024, section 2.1.2).
struct ExpertChoice {
  bool by_sigmoid = false;  // probabilities are sigmoids of the scores, each by itself; else a softmax
  double scale = 1;         // of the weights
  int64_t groups = 1;       // the experts of the best `groups_used` are eligible; a group is as good as the
  int64_t groups_used = 1;  // sum of its `group_best` highest
  int64_t group_best = 1;

  bool operator==(const ExpertChoice&) const = default;
};

struct ModelConfig {
  std::string architecture;  // general.architecture
  std::string name;          // general.name, or the file's name
  int64_t n_layer = 0;
  int64_t n_embd = 0;
  int64_t n_ff = 0;           // of a dense layer, or of the expert that all tokens share
  int64_t n_expert = 0;       // of a layer; 0: no experts
  int64_t n_expert_used = 0;  // chosen for a token
  int64_t n_ff_expert = 0;
  int64_t n_dense_layers = 0;  // so many layers from the first have no experts, and n_ff_dense
  int64_t n_ff_dense = 0;
  ExpertChoice choice = {};
  bool experts_sum_to_1 = false;  // the weights of a token's experts are divided by their sum
  int64_t n_head = 0;
  int64_t n_head_kv = 0;
  int64_t head_dim = 0;  // of scores: of a cached key
  LatentAttention latent = {};
  int64_t n_vocab = 0;
  int64_t n_ctx = 0;  // the context that the model was trained for
  double norm_eps = 0;
  double rope_base = 0;
  int64_t rope_dims = 0;      // rotated dims of a head, even: the first, of MLA the last
  bool rope_adjacent = true;  // pairs (2i, 2i+1); false: halves (NeoX)
  int64_t rope_original = 0;  // positions that LongRoPE's short factors serve; 0: no LongRoPE
  int64_t context = 0;        // positions that the run is for, where somebody said so: set_context()
  bool tied_output = false;   // logits use the embedding table
  Activation activation = Activation::silu;
  double embedding_scale = 1;
  double attention_scale = 0;  // of scores: 1 / sqrt(head_dim), unless the model says otherwise
  double residual_scale = 1;   // of both branches as they are added
  double logit_divisor = 1;
  double score_cap = 0, logit_cap = 0;  // c tanh(x / c) of scores before the mask, of logits; 0: none
  std::vector<LayerConfig> layers;
  std::bitset<kStageCount> unknown = {};  // of those outside the layers

  const LayerConfig& layer(int n) const { return layers.at(static_cast<size_t>(n)); }

  bool is_latent() const { return latent.kv_rank > 0; }
  int64_t query_dim() const { return is_latent() ? latent.nope + rope_dims : head_dim; }
  int64_t key_dim() const { return is_latent() ? rope_dims : head_dim; }
  int64_t value_dim() const { return is_latent() ? latent.kv_rank : head_dim; }
  int64_t out_dim() const { return is_latent() ? latent.out : head_dim; }
  int64_t ff_of(int layer) const { return layer < n_dense_layers ? n_ff_dense : n_ff; }
};

/// Whether the layer has the stage; what is outside the layers is always there.
bool has_stage(const ModelConfig& config, At at);

/// Whether the model has the place: the layer, and the stage in it.
bool has_place(const ModelConfig& config, At at);

/// Whether GRETA knows how the stage is computed: of a whole model always (half_known.h).
bool is_known(const ModelConfig& config, At at);

/// The stages whose rows are a stage's operands, in order. (The cache's earlier rows are a further one.)
std::vector<At> operands_at(const ModelConfig& config, At at);

/// Heads whose slices make a row of a token; 1 where a stage has none. Of the cache: those of the keys and
/// those of the values. Of what experts make: the chosen ones.
int64_t row_heads(Stage stage, const ModelConfig& config);

/// Values of one token in a stage; scores and weights: of `n_pos` positions. Of the cache a value lies in a
/// slot as wide as a key's, with zeros behind it.
int64_t row_width(At at, const ModelConfig& config, int64_t n_pos);

/// Of a stage of kind rope: values of a head, and the first that turns.
int64_t rope_width(Stage stage, const ModelConfig& config);
inline int64_t rope_first(Stage stage, const ModelConfig& config) {
  return config.is_latent() ? rope_width(stage, config) - config.rope_dims : 0;
}

/// Rows that a token has in a buffer or a recorded array: one for each head of scores and weights, else 1.
int64_t rows_per_token(Stage stage, const ModelConfig& config);

/// The factor that the row names.
double scale_of(Stage stage, const ModelConfig& config);

/// The soft cap c of scores and of logits, which are c tanh(x / c); 0: none.
double cap_of(Stage stage, const ModelConfig& config);

/// The weights of one layer by the stage that each makes; nullptr where the model has none. Matrices are [n,
/// k], n and k the widths of output and input, those of experts [n_expert, n, k], of heads [n_head, n, k];
/// norms [width], or [head_dim] for each head alike; biases [n], of experts [n_expert, n]. The weight of
/// softmax: each query head's sink [n_head], a score without a position. The bias of a choice of experts
/// [n_expert]: what is added to their probabilities there, and there alone.
struct LayerWeights {
  std::array<const Tensor*, kStageCount> weights = {}, biases = {};

  const Tensor*& of(Stage stage) { return weights[static_cast<size_t>(stage)]; }
  const Tensor* of(Stage stage) const { return weights[static_cast<size_t>(stage)]; }
  const Tensor*& bias_of(Stage stage) { return biases[static_cast<size_t>(stage)]; }
  const Tensor* bias_of(Stage stage) const { return biases[static_cast<size_t>(stage)]; }
};

/// Some rows of a matrix of the file, as a tensor of its own.
struct TensorSlice {
  std::string name;
  Tensor tensor;
};

struct Model {
  ModelFile file;
  ModelConfig config;
  const Tensor* token_embd = nullptr;   // [n_vocab, n_embd]
  const Tensor* output_norm = nullptr;  // [n_embd]
  const Tensor* output = nullptr;       // [n_vocab, n_embd]; token_embd when tied
  const Tensor* rope_freqs = nullptr;   // [rope_dims / 2]: each pair's frequency is divided by its value
  const Tensor *rope_short = nullptr, *rope_long = nullptr;  // LongRoPE's, of which rope_freqs is one
  std::vector<LayerWeights> layers;
  std::list<TensorSlice> slices;  // of fused tensors; weights point to them
  std::string not_known;          // why this is no whole model; empty for one
};

/// The weight that makes a stage: a projection's matrix, a norm's vector, the first layer's x_in's embedding;
/// nullptr for other stages, and for layers and parts that the model does not have.
const Tensor* weight_of(const Model& model, WeightAt at);

/// The matrix [n, k] of one expert of a tensor [n_expert, n, k], by the tensor's name.
Tensor expert_of(const Tensor& experts, int64_t expert);

/// The bias of a projection; nullptr where the model has none.
const Tensor* bias_of(const Model& model, WeightAt at);

/// Binds and checks: known architecture, every hyperparameter in range and in agreement with the others,
/// every tensor present, of a known weight type and of the shape that the hyperparameters demand. Throws an
/// input Error naming the key or tensor, what it is and what it must be.
Model bind_model(ModelFile file);

/// LongRoPE (Ding et al. 2024) has two tables of factors. A run keeps to one, so that no position turns in
/// two ways: the long one if its context is longer than what the short one serves. Of other models nothing
/// changes.
void set_context(Model& model, int64_t positions);

/// As bind_model, of what lies at `path`.
Model open_model(const std::string& path);

}  // namespace greta
