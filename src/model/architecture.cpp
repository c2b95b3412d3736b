#include "model/architecture.h"

#include <algorithm>

namespace greta {
namespace {

using enum Dim;
using enum WeightUse;

constexpr ModelTensor kModel[] = {
    {"token_embd.weight", &Model::token_embd, n_vocab, n_embd, matrix},
    {"output_norm.weight", &Model::output_norm, one, n_embd, norm},
    {"output.weight", &Model::output, n_vocab, n_embd, matrix, true},
};
constexpr ModelTensor kModelWithFactors[] = {
    {"token_embd.weight", &Model::token_embd, n_vocab, n_embd, matrix},
    {"output_norm.weight", &Model::output_norm, one, n_embd, norm},
    {"output.weight", &Model::output, n_vocab, n_embd, matrix, true},
    {"rope_freqs.weight", &Model::rope_freqs, one, rope_pairs, factors, true},
    {"rope_factors_long.weight", &Model::rope_long, one, rope_pairs, factors, true},
    {"rope_factors_short.weight", &Model::rope_short, one, rope_pairs, factors, true},
};

constexpr LayerTensor kAttention[] = {
    {"attn_q.weight", Stage::q, q_width, n_embd, matrix},
    {"attn_k.weight", Stage::k, kv_width, n_embd, matrix},
    {"attn_v.weight", Stage::v, kv_width, n_embd, matrix},
    {"attn_output.weight", Stage::attn_out, n_embd, q_width, matrix},
};
constexpr LayerTensor kFusedAttention[] = {
    {"attn_qkv.weight", Stage::q, q_width, n_embd, matrix},
    {"attn_qkv.weight", Stage::k, kv_width, n_embd, matrix},
    {"attn_qkv.weight", Stage::v, kv_width, n_embd, matrix},
    {"attn_output.weight", Stage::attn_out, n_embd, q_width, matrix},
};
constexpr LayerTensor kFfn[] = {
    {"ffn_gate.weight", Stage::gate, n_ff, n_embd, matrix},
    {"ffn_up.weight", Stage::up, n_ff, n_embd, matrix},
    {"ffn_down.weight", Stage::down, n_embd, n_ff, matrix},
};
constexpr LayerTensor kDenseFfn[] = {
    {"ffn_gate.weight", Stage::gate, Dim::n_ff_dense, n_embd, matrix},
    {"ffn_up.weight", Stage::up, Dim::n_ff_dense, n_embd, matrix},
    {"ffn_down.weight", Stage::down, n_embd, Dim::n_ff_dense, matrix},
};
// The latent is the value of all heads, and the key but for its rotated end: k is that end alone. The first
// rows of Wkv_a are v's.
constexpr LayerTensor kLatentAttention[] = {
    {"attn_q.weight", Stage::q, q_width, n_embd, matrix, true},
    {"attn_q_a.weight", Stage::q_a, Dim::q_rank, n_embd, matrix, true},
    {"attn_q_a_norm.weight", Stage::q_a_norm, one, Dim::q_rank, norm, true},
    {"attn_q_b.weight", Stage::q, q_width, Dim::q_rank, matrix, true},
    {"attn_kv_a_mqa.weight", Stage::v, v_width, n_embd, matrix},
    {"attn_kv_a_mqa.weight", Stage::k, k_width, n_embd, matrix},
    {"attn_kv_a_norm.weight", Stage::v_norm, one, kv_rank, norm},
    {"attn_k_b.weight", Stage::q_absorbed, kv_rank, nope_dim, heads},
    {"attn_v_b.weight", Stage::head_out, out_dim, kv_rank, heads},
    {"attn_output.weight", Stage::attn_out, n_embd, o_width, matrix},
};
constexpr LayerTensor kFusedFfn[] = {
    {"ffn_up.weight", Stage::gate, n_ff, n_embd, matrix},
    {"ffn_up.weight", Stage::up, n_ff, n_embd, matrix},
    {"ffn_down.weight", Stage::down, n_embd, n_ff, matrix},
};
constexpr LayerTensor kExperts[] = {
    {"ffn_gate_inp.weight", Stage::router, Dim::n_expert, n_embd, matrix},
    {"ffn_gate_exps.weight", Stage::expert_gate, n_ff_expert, n_embd, experts},
    {"ffn_up_exps.weight", Stage::expert_up, n_ff_expert, n_embd, experts},
    {"ffn_down_exps.weight", Stage::expert_down, n_embd, n_ff_expert, experts},
};
constexpr LayerTensor kSharedExpert[] = {
    {"ffn_gate_inp.weight", Stage::router, Dim::n_expert, n_embd, matrix},
    {"ffn_gate_exps.weight", Stage::expert_gate, n_ff_expert, n_embd, experts},
    {"ffn_up_exps.weight", Stage::expert_up, n_ff_expert, n_embd, experts},
    {"ffn_down_exps.weight", Stage::expert_down, n_embd, n_ff_expert, experts},
    {"ffn_gate_inp_shexp.weight", Stage::shared_gate, one, n_embd, matrix},
    {"ffn_gate_shexp.weight", Stage::gate, n_ff, n_embd, matrix},
    {"ffn_up_shexp.weight", Stage::up, n_ff, n_embd, matrix},
    {"ffn_down_shexp.weight", Stage::down, n_embd, n_ff, matrix},
};
constexpr LayerTensor kDeepSeekExperts[] = {
    {"ffn_gate_inp.weight", Stage::router, Dim::n_expert, n_embd, matrix},
    {"exp_probs_b.bias", Stage::experts, one, Dim::n_expert, bias, true},
    {"ffn_gate_exps.weight", Stage::expert_gate, n_ff_expert, n_embd, experts},
    {"ffn_up_exps.weight", Stage::expert_up, n_ff_expert, n_embd, experts},
    {"ffn_down_exps.weight", Stage::expert_down, n_embd, n_ff_expert, experts},
    {"ffn_gate_shexp.weight", Stage::gate, n_ff, n_embd, matrix, true},
    {"ffn_up_shexp.weight", Stage::up, n_ff, n_embd, matrix, true},
    {"ffn_down_shexp.weight", Stage::down, n_embd, n_ff, matrix, true},
};
constexpr LayerTensor kBiasedExperts[] = {
    {"ffn_gate_inp.weight", Stage::router, Dim::n_expert, n_embd, matrix},
    {"ffn_gate_inp.bias", Stage::router, one, Dim::n_expert, bias},
    {"ffn_gate_exps.weight", Stage::expert_gate, n_ff_expert, n_embd, experts},
    {"ffn_gate_exps.bias", Stage::expert_gate, Dim::n_expert, n_ff_expert, bias},
    {"ffn_up_exps.weight", Stage::expert_up, n_ff_expert, n_embd, experts},
    {"ffn_up_exps.bias", Stage::expert_up, Dim::n_expert, n_ff_expert, bias},
    {"ffn_down_exps.weight", Stage::expert_down, n_embd, n_ff_expert, experts},
    {"ffn_down_exps.bias", Stage::expert_down, Dim::n_expert, n_embd, bias},
};
constexpr LayerTensor kGptOssAttention[] = {
    {"attn_q.bias", Stage::q, one, q_width, bias},
    {"attn_k.bias", Stage::k, one, kv_width, bias},
    {"attn_v.bias", Stage::v, one, kv_width, bias},
    {"attn_output.bias", Stage::attn_out, one, n_embd, bias},
    {"attn_sinks.weight", Stage::softmax, one, Dim::n_head, sinks},
};
// The norm after the attention is in front of the experts.
constexpr LayerTensor kGptOssNorms[] = {
    {"attn_norm.weight", Stage::attn_norm, one, n_embd, norm},
    {"post_attention_norm.weight", Stage::ffn_norm, one, n_embd, norm},
};
constexpr LayerTensor kNorms[] = {
    {"attn_norm.weight", Stage::attn_norm, one, n_embd, norm},
    {"ffn_norm.weight", Stage::ffn_norm, one, n_embd, norm},
};
constexpr LayerTensor kPostNorms[] = {
    {"post_attention_norm.weight", Stage::attn_post_norm, one, n_embd, norm},
    {"post_ffw_norm.weight", Stage::ffn_post_norm, one, n_embd, norm},
};
constexpr LayerTensor kHeadNorms[] = {
    {"attn_q_norm.weight", Stage::q_norm, one, head_dim, norm},
    {"attn_k_norm.weight", Stage::k_norm, one, head_dim, norm},
};
constexpr LayerTensor kWholeNorms[] = {
    {"attn_q_norm.weight", Stage::q_norm, one, q_width, norm},
    {"attn_k_norm.weight", Stage::k_norm, one, kv_width, norm},
};
constexpr LayerTensor kBiases[] = {
    {"attn_q.bias", Stage::q, one, q_width, bias},
    {"attn_k.bias", Stage::k, one, kv_width, bias},
    {"attn_v.bias", Stage::v, one, kv_width, bias},
};

// Of fine-tunes: llama.cpp takes them where they are.
constexpr LayerTensor kOptionalBiases[] = {
    {"attn_q.bias", Stage::q, one, q_width, bias, true},
    {"attn_k.bias", Stage::k, one, kv_width, bias, true},
    {"attn_v.bias", Stage::v, one, kv_width, bias, true},
    {"attn_output.bias", Stage::attn_out, one, n_embd, bias, true},
    {"ffn_gate.bias", Stage::gate, one, n_ff, bias, true},
    {"ffn_up.bias", Stage::up, one, n_ff, bias, true},
    {"ffn_down.bias", Stage::down, one, n_embd, bias, true},
};

constexpr NumberKey kGraniteNumbers[] = {
    {"embedding_scale", &ModelConfig::embedding_scale},
    {"residual_scale", &ModelConfig::residual_scale},
    {"attention.scale", &ModelConfig::attention_scale},
    {"logit_scale", &ModelConfig::logit_divisor},
};

constexpr NumberKey kGemma2Numbers[] = {
    {"attn_logit_softcapping", &ModelConfig::score_cap},
    {"final_logit_softcapping", &ModelConfig::logit_cap},
};

constexpr RefusedKey kRefusedKeys[] = {
    {"expert_count", 0, "a mixture of experts"},
    {"expert_gating_func", 1, "a choice of experts by another function than softmax"},
    {"expert_weights_scale", 1, "a scale of the experts' weights"},
    {"leading_dense_block_count", 0, "dense layers before those with experts"},
    {"rope.scale_linear", 1, "RoPE scaling"},
    {"rope.scaling.attn_factor", 1, "RoPE scaling with a factor of the scores"},
    {"rope.scaling.yarn_ext_factor", 1, "YaRN with a factor of its extrapolation"},
    {"rope.scaling.yarn_attn_factor", 1, "YaRN with another factor of its magnitude"},
    {"rope.scaling.yarn_log_multiplier", 0, "YaRN with another magnitude"},
    {"rope.scaling.finetuned", 1, "a model without RoPE"},
    {"attention.causal", 1, "attention that is not causal"},
    {"attention.scale", 0, "a scale of the attention scores other than 1/sqrt(head_dim)"},
    {"attention.temperature_scale", 0, "a temperature of the attention"},
    {"attention.clamp_kqv", 0, "clamping of q, k and v"},
    {"attention.max_alibi_bias", 0, "ALiBi"},
    {"attention.sliding_window_pattern", 0, "another order of local and global layers"},
    {"attn_logit_softcapping", 0, "soft-capping of the attention scores"},
    {"final_logit_softcapping", 0, "soft-capping of the logits"},
    {"embedding_scale", 1, "a scale of the embeddings"},
    {"residual_scale", 1, "a scale of the residuals"},
    {"logit_scale", 1, "a scale of the logits"},
    {"use_parallel_residual", 0, "parallel residuals"},
};

constexpr RefusedTensor kRefusedTensors[] = {
    {"rope_freqs.weight", "RoPE scaling by a table of frequencies"},
    {"rope_factors_*", "RoPE scaling by a table of factors"},
    {"*.bias", "biases"},
    {"*_exps.weight", "a mixture of experts"},
    {"*.ffn_gate_inp.weight", "a mixture of experts"},
    {"*.attn_q_norm.weight", "a norm of q"},
    {"*.attn_k_norm.weight", "a norm of k"},
    {"*.attn_qkv.weight", "fused q, k and v"},
    {"*.attn_sinks.weight", "attention sinks"},
};

// Names and facts: llama.cpp's src/llama-arch.cpp and src/models, and the modelling files of transformers.
constexpr Architecture kArchitectures[] = {
    // Mistral's and Mixtral's files, too, say llama.
    {.name = "llama",
     .rope_adjacent = true,
     .model_tensors = kModelWithFactors,
     .layer_tensors = {kAttention, kOptionalBiases, kNorms},
     .ffn = kFfn,
     .experts = kExperts,
     .windowed = Windowed::all},
    {.name = "qwen2",
     .rope_adjacent = false,
     .model_tensors = kModel,
     .layer_tensors = {kAttention, kBiases, kNorms},
     .ffn = kFfn},
    {.name = "qwen2moe",
     .rope_adjacent = false,
     .model_tensors = kModel,
     .layer_tensors = {kAttention, kBiases, kNorms},
     .experts = kSharedExpert,
     .experts_sum_to_1 = false},
    {.name = "qwen3moe",
     .rope_adjacent = false,
     .model_tensors = kModel,
     .layer_tensors = {kAttention, kHeadNorms, kNorms},
     .experts = kExperts},
    {.name = "qwen3",
     .rope_adjacent = false,
     .model_tensors = kModel,
     .layer_tensors = {kAttention, kHeadNorms, kNorms},
     .ffn = kFfn},
    {.name = "gemma2",
     .rope_adjacent = false,
     .model_tensors = kModel,
     .layer_tensors = {kAttention, kNorms, kPostNorms},
     .ffn = kFfn,
     .activation = Activation::gelu,
     .number_keys = kGemma2Numbers,
     .windowed = Windowed::local,
     .global_every = 2,
     .embedding_scaled = true,
     .width_scaled_layers = 46,
     .score_cap = 50,
     .logit_cap = 30},
    {.name = "gemma3",
     .rope_adjacent = false,
     .model_tensors = kModel,
     .layer_tensors = {kAttention, kHeadNorms, kNorms, kPostNorms},
     .ffn = kFfn,
     .activation = Activation::gelu,
     .windowed = Windowed::local,
     .global_every = 6,
     .local_rope_base = 10000,
     .embedding_scaled = true,
     .width_scaled_layers = 62},
    {.name = "gpt-oss",
     .rope_adjacent = false,
     .model_tensors = kModel,
     .layer_tensors = {kAttention, kGptOssAttention, kGptOssNorms},
     .experts = kBiasedExperts,
     .activation = Activation::swiglu_oai,
     .windowed = Windowed::local,
     .global_every = 2,
     .yarn_whole_borders = false},
    {.name = "deepseek2",
     .rope_adjacent = true,
     .model_tensors = kModel,
     .layer_tensors = {kLatentAttention, kNorms},
     .ffn = kDenseFfn,
     .experts = kDeepSeekExperts,
     .experts_sum_to_1 = false,
     .latent = true},
    {.name = "phi3",
     .rope_adjacent = false,
     .model_tensors = kModelWithFactors,
     .layer_tensors = {kFusedAttention, kNorms},
     .ffn = kFusedFfn,
     .windowed = Windowed::all},
    {.name = "smollm3",
     .rope_adjacent = true,
     .model_tensors = kModel,
     .layer_tensors = {kAttention, kNorms},
     .ffn = kFfn,
     .no_rope_every = 4},
    {.name = "olmo2",
     .rope_adjacent = false,
     .model_tensors = kModel,
     .layer_tensors = {kAttention, kWholeNorms, kPostNorms},
     .ffn = kFfn},
    {.name = "granite",
     .rope_adjacent = true,
     .model_tensors = kModel,
     .layer_tensors = {kAttention, kNorms},
     .ffn = kFfn,
     .number_keys = kGraniteNumbers},
};

}  // namespace

int64_t size_of(Dim dim, const ModelConfig& config) {
  switch (dim) {
    case Dim::one: return 1;
    case Dim::n_embd: return config.n_embd;
    case Dim::n_ff: return config.n_ff;
    case Dim::n_vocab: return config.n_vocab;
    case Dim::n_head: return config.n_head;
    case Dim::q_width: return config.n_head * config.query_dim();
    case Dim::k_width: return config.n_head_kv * config.key_dim();
    case Dim::v_width: return config.n_head_kv * config.value_dim();
    case Dim::o_width: return config.n_head * config.out_dim();
    case Dim::q_rank: return config.latent.q_rank;
    case Dim::kv_rank: return config.latent.kv_rank;
    case Dim::nope_dim: return config.latent.nope;
    case Dim::out_dim: return config.latent.out;
    case Dim::n_ff_dense: return config.n_ff_dense;
    case Dim::kv_width: return config.n_head_kv * config.head_dim;
    case Dim::head_dim: return config.head_dim;
    case Dim::rope_pairs: return config.rope_dims / 2;
    case Dim::n_expert: return config.n_expert;
    case Dim::n_ff_expert: return config.n_ff_expert;
  }
  return 0;
}

std::vector<std::span<const LayerTensor>> layer_tensors(const Architecture& architecture,
                                                        const ModelConfig& config, int64_t layer) {
  std::vector<std::span<const LayerTensor>> groups(architecture.layer_tensors.begin(),
                                                   architecture.layer_tensors.end());
  const bool experts = config.n_expert > 0 && layer >= config.n_dense_layers;
  groups.push_back(experts ? architecture.experts : architecture.ffn);
  return groups;
}

std::span<const RefusedKey> refused_keys() { return kRefusedKeys; }
std::span<const RefusedTensor> refused_tensors() { return kRefusedTensors; }

const Architecture* find_architecture(std::string_view name) {
  const auto found =
      std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                   [&](const Architecture& architecture) { return architecture.name == name; });
  return found == std::end(kArchitectures) ? nullptr : found;
}

const Architecture& common_architecture() {
  static constexpr Architecture kCommon{.name = "",
                                        .rope_adjacent = false,
                                        .model_tensors = kModel,
                                        .layer_tensors = {kAttention, kOptionalBiases, kNorms},
                                        .ffn = kFfn};
  return kCommon;
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
