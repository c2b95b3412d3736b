#include "model/architecture.h"

#include <algorithm>

namespace greta {
namespace {

constexpr ModelTensor kLlamaModel[] = {
    {"token_embd.weight", &Model::token_embd, Dim::n_vocab, Dim::n_embd, WeightUse::matrix},
    {"output_norm.weight", &Model::output_norm, Dim::one, Dim::n_embd, WeightUse::norm},
    {"output.weight", &Model::output, Dim::n_vocab, Dim::n_embd, WeightUse::matrix, true},
};

constexpr LayerTensor kLlamaLayer[] = {
    {"attn_norm.weight", &LayerWeights::attn_norm, Dim::one, Dim::n_embd, WeightUse::norm},
    {"attn_q.weight", &LayerWeights::q, Dim::q_width, Dim::n_embd, WeightUse::matrix},
    {"attn_k.weight", &LayerWeights::k, Dim::kv_width, Dim::n_embd, WeightUse::matrix},
    {"attn_v.weight", &LayerWeights::v, Dim::kv_width, Dim::n_embd, WeightUse::matrix},
    {"attn_output.weight", &LayerWeights::attn_out, Dim::n_embd, Dim::q_width, WeightUse::matrix},
    {"ffn_norm.weight", &LayerWeights::ffn_norm, Dim::one, Dim::n_embd, WeightUse::norm},
    {"ffn_gate.weight", &LayerWeights::gate, Dim::n_ff, Dim::n_embd, WeightUse::matrix},
    {"ffn_up.weight", &LayerWeights::up, Dim::n_ff, Dim::n_embd, WeightUse::matrix},
    {"ffn_down.weight", &LayerWeights::down, Dim::n_embd, Dim::n_ff, WeightUse::matrix},
};

constexpr RefusedKey kLlamaRefusedKeys[] = {
    {"expert_count", 0, "a mixture of experts"},
    {"rope.scale_linear", 1, "RoPE scaling"},
    {"attention.causal", 1, "attention that is not causal"},
    {"attention.scale", 0, "a scale of the attention scores other than 1/sqrt(head_dim)"},
    {"attention.clamp_kqv", 0, "clamping of q, k and v"},
    {"attn_logit_softcapping", 0, "soft-capping of the attention scores"},
    {"final_logit_softcapping", 0, "soft-capping of the logits"},
    {"embedding_scale", 1, "a scale of the embeddings"},
    {"residual_scale", 1, "a scale of the residuals"},
    {"logit_scale", 1, "a scale of the logits"},
    {"use_parallel_residual", 0, "parallel residuals"},
};

constexpr RefusedTensor kLlamaRefusedTensors[] = {
    {"rope_freqs.weight", "RoPE scaling by a table of frequencies"},
    {"rope_factors_*", "RoPE scaling by a table of factors"},
    {"*.bias", "biases"},
    {"*_exps.weight", "a mixture of experts"},
    {"*.ffn_gate_inp.weight", "a mixture of experts"},
    {"*.attn_q_norm.weight", "a norm of q"},
    {"*.attn_k_norm.weight", "a norm of k"},
    {"*.attn_qkv.weight", "fused q, k and v"},
};

constexpr Architecture kArchitectures[] = {
    {"llama", true, 10000.0, kLlamaModel, kLlamaLayer, kLlamaRefusedKeys, kLlamaRefusedTensors},
};

}  // namespace

int64_t size_of(Dim dim, const ModelConfig& config) {
  switch (dim) {
    case Dim::one: return 1;
    case Dim::n_embd: return config.n_embd;
    case Dim::n_ff: return config.n_ff;
    case Dim::n_vocab: return config.n_vocab;
    case Dim::q_width: return config.n_head * config.head_dim;
    case Dim::kv_width: return config.n_head_kv * config.head_dim;
  }
  return 0;
}

const Architecture* find_architecture(std::string_view name) {
  const auto found =
      std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                   [&](const Architecture& architecture) { return architecture.name == name; });
  return found == std::end(kArchitectures) ? nullptr : found;
}

std::string architecture_names() {
  std::string names;
  for (const Architecture& architecture : kArchitectures) {
    if (!names.empty()) names += ", ";
    names += architecture.name;
  }
  return names;
}

bool matches(std::string_view pattern, std::string_view name) {
  if (pattern.starts_with('*')) return name.ends_with(pattern.substr(1));
  if (pattern.ends_with('*')) return name.starts_with(pattern.substr(0, pattern.size() - 1));
  return name == pattern;
}

}  // namespace greta
