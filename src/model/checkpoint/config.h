#pragma once
// config.json of a Hugging Face checkpoint as the hyperparameters that a GGUF would have.

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/checkpoint/kind.h"
#include "model/checkpoint/storage.h"

namespace greta {

struct CheckpointConfig {
  const CheckpointKind* kind = nullptr;  // nullptr: of a type that is not known
  const Architecture* architecture = nullptr;
  bool tied = false;
  int64_t n_embd = 0, n_head = 0, n_head_kv = 0, head_dim = 0;
  int64_t nope_dim = 0, out_dim = 0;  // of MLA: parts of a head's rows of kv_b_proj
  int64_t mtp_from = 0;               // layers from this one on only foretell further tokens; 0: none does
  nlohmann::json quantisation;        // quantization_config, or null
  std::vector<float> rope_factors;    // of each pair, as Llama 3 scales them; empty: none
  std::vector<float> long_factors, short_factors;  // of LongRoPE
};

/// Adds the keys to `metadata`. `where` is the file's path, for messages. Input Errors: a field that is
/// missing, out of range or of another kind, and one that would change the computation (the message names
/// it).
CheckpointConfig read_checkpoint_config(const nlohmann::json& config, const std::string& where,
                                        MetadataBuilder& metadata);

/// Factors by which Llama 3 divides the frequencies of RoPE: 1 for wavelengths below original / high,
/// `factor` above original / low, and between. In f32, as transformers and llama.cpp's converter compute them
/// (modeling_rope_utils.py, _compute_llama3_parameters).
struct Llama3Rope {
  double factor = 8, low = 1, high = 4, original = 8192;
};
std::vector<float> llama3_factors(double base, int64_t dims, const Llama3Rope& rope);

}  // namespace greta
