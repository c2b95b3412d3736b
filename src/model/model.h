#pragma once
// A model: its hyperparameters and its weights by role, checked against each other. Data, no behaviour: how
// it is computed is the planner's business (engine/planner.h).

#include <cstdint>
#include <string>
#include <vector>

#include "model/gguf.h"

namespace greta {

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
};

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
};

struct Model {
  Gguf file;
  ModelConfig config;
  const GgufTensor* token_embd = nullptr;   // [n_vocab, n_embd]
  const GgufTensor* output_norm = nullptr;  // [n_embd]
  const GgufTensor* output = nullptr;       // [n_vocab, n_embd]; token_embd when tied
  std::vector<LayerWeights> layers;
};

/// Binds and checks: known architecture, every hyperparameter in range and in agreement with the others,
/// every tensor present, of a known weight type and of the shape that the hyperparameters demand. Throws an
/// input Error naming the key or tensor, what it is and what it must be.
Model bind_model(Gguf file);

inline Model open_model(const std::string& path) { return bind_model(Gguf::open(path)); }

}  // namespace greta
