#include "model/checkpoint/kind.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace greta {
namespace {

using enum ConfigKey::Kind;

constexpr ConfigKey kCommonKeys[] = {
    {"num_hidden_layers", "block_count"},
    {"hidden_size", "embedding_length"},
    {"intermediate_size", "feed_forward_length"},
    {"num_attention_heads", "attention.head_count"},
    {"num_key_value_heads", "attention.head_count_kv"},
    {"head_dim", "attention.key_length"},
    {"head_dim", "attention.value_length"},
    {"max_position_embeddings", "context_length"},
    {"vocab_size", "vocab_size"},
    {"rms_norm_eps", "attention.layer_norm_rms_epsilon", number},
};
constexpr ConfigKey kMixtralKeys[] = {
    {"num_local_experts", "expert_count"},
    {"num_experts_per_tok", "expert_used_count"},
};
constexpr ConfigKey kGptOssKeys[] = {
    {"num_local_experts", "expert_count"},
    {"num_experts_per_tok", "expert_used_count"},
    {"intermediate_size", "expert_feed_forward_length"},
};
constexpr ConfigKey kExpertKeys[] = {
    {"num_experts", "expert_count"},
    {"num_experts_per_tok", "expert_used_count"},
    {"moe_intermediate_size", "expert_feed_forward_length"},
    {"shared_expert_intermediate_size", "expert_shared_feed_forward_length"},
    {"norm_topk_prob", "expert_weights_norm", flag},
};
constexpr ConfigKey kDeepSeekKeys[] = {
    {"q_lora_rank", "attention.q_lora_rank"},
    {"kv_lora_rank", "attention.kv_lora_rank"},
    {"kv_lora_rank", "attention.value_length"},
    {"v_head_dim", "attention.value_length_mla"},
    {"n_routed_experts", "expert_count"},
    {"num_experts_per_tok", "expert_used_count"},
    {"n_shared_experts", "expert_shared_count"},
    {"moe_intermediate_size", "expert_feed_forward_length"},
    {"routed_scaling_factor", "expert_weights_scale", number},
    {"norm_topk_prob", "expert_weights_norm", flag},
};
constexpr ConfigKey kGraniteKeys[] = {
    {"embedding_multiplier", "embedding_scale", number},
    {"residual_multiplier", "residual_scale", number},
    {"attention_multiplier", "attention.scale", number},
    {"logits_scaling", "logit_scale", number},
};

constexpr ConfigKey kGemma2Keys[] = {
    {"attn_logit_softcapping", "attn_logit_softcapping", number, true},
    {"final_logit_softcapping", "final_logit_softcapping", number, true},
};

constexpr RefusedField kRefusedFields[] = {
    {"num_experts", "a mixture of experts"},
    {"num_local_experts", "a mixture of experts"},
    {"n_routed_experts", "a mixture of experts"},
    {"attn_logit_softcapping", "soft-capping of the attention scores"},
    {"final_logit_softcapping", "soft-capping of the logits"},
    {"mlp_only_layers", "dense layers among those with experts"},
    {"alibi", "ALiBi"},
    {"clip_qkv", "clamping of q, k and v"},
    {"use_bidirectional_attention", "attention that is not causal"},
    {"swiglu_limit", "a SwiGLU with another clamp", 7},
    {"swiglu_alpha", "a SwiGLU with another slope", 1.702},
};

// The modelling files of transformers.
constexpr CheckpointKind kCheckpointKinds[] = {
    {.model_type = "llama", .architecture = "llama", .activation = "silu"},
    {.model_type = "mistral", .architecture = "llama", .activation = "silu"},
    {.model_type = "qwen2", .architecture = "qwen2", .activation = "silu"},
    {.model_type = "qwen3", .architecture = "qwen3", .activation = "silu"},
    {.model_type = "gemma2",
     .architecture = "gemma2",
     .activation = "gelu_pytorch_tanh",
     .tied = true,
     .norm_offset = 1,
     .keys = kGemma2Keys},
    {.model_type = "gemma3_text",
     .architecture = "gemma3",
     .activation = "gelu_pytorch_tanh",
     .tied = true,
     .rope_base = 1'000'000,
     .norm_offset = 1},
    {.model_type = "phi3", .architecture = "phi3", .activation = "silu"},
    {.model_type = "smollm3",
     .architecture = "smollm3",
     .activation = "silu",
     .tied = true,
     .rope_base = 2'000'000},
    {.model_type = "olmo2", .architecture = "olmo2", .activation = "silu"},
    {.model_type = "mixtral", .architecture = "llama", .activation = "silu", .keys = kMixtralKeys},
    {.model_type = "qwen2_moe", .architecture = "qwen2moe", .activation = "silu", .keys = kExpertKeys},
    {.model_type = "qwen3_moe", .architecture = "qwen3moe", .activation = "silu", .keys = kExpertKeys},
    {.model_type = "gpt_oss",
     .architecture = "gpt-oss",
     .activation = "silu",
     .rope_base = 150'000,
     .fused = FusedExperts::turned,
     .keys = kGptOssKeys},
    {.model_type = "deepseek_v2", .architecture = "deepseek2", .activation = "silu", .keys = kDeepSeekKeys},
    {.model_type = "deepseek_v3",
     .architecture = "deepseek2",
     .activation = "silu",
     .sigmoid = true,
     .keys = kDeepSeekKeys},
    {.model_type = "granite", .architecture = "granite", .activation = "silu", .keys = kGraniteKeys},
};

struct NamePair {
  std::string_view checkpoint, gguf;
  std::string_view without = {};  // not of architectures that have this tensor
  std::string_view part = {};     // GGUF's last word, where the checkpoint's name has none
};

constexpr NamePair kModelNames[] = {
    {"model.embed_tokens", "token_embd"}, {"model.norm", "output_norm"}, {"lm_head", "output"}};

// The first of two with one name is for architectures that have such a tensor.
constexpr NamePair kLayerNames[] = {
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.gate_up_proj", "ffn_up", "ffn_gate.weight"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"mlp.router", "ffn_gate_inp"},
    {"self_attn.sinks", "attn_sinks", {}, "weight"},
    {"block_sparse_moe.gate", "ffn_gate_inp"},
    {"mlp.experts.gate_proj", "ffn_gate_exps"},
    {"mlp.experts.up_proj", "ffn_up_exps"},
    {"mlp.experts.down_proj", "ffn_down_exps"},
    {"block_sparse_moe.experts.gate_proj", "ffn_gate_exps"},
    {"block_sparse_moe.experts.up_proj", "ffn_up_exps"},
    {"block_sparse_moe.experts.down_proj", "ffn_down_exps"},
    {"mlp.gate.e_score_correction_bias", "exp_probs_b", {}, "bias"},
    {"self_attn.q_a_proj", "attn_q_a"},
    {"self_attn.q_a_layernorm", "attn_q_a_norm"},
    {"self_attn.q_b_proj", "attn_q_b"},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa"},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm"},
    {"self_attn.kv_b_proj", "attn_kv_b"},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp"},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp"},
    {"mlp.shared_expert.gate_proj", "ffn_gate_shexp"},
    {"mlp.shared_expert.up_proj", "ffn_up_shexp"},
    {"mlp.shared_expert.down_proj", "ffn_down_shexp"},
    {"mlp.shared_expert_gate", "ffn_gate_inp_shexp"},
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "post_attention_norm"},
    {"post_attention_layernorm", "ffn_norm"},
    {"pre_feedforward_layernorm", "ffn_norm"},
    {"post_feedforward_layernorm", "post_ffw_norm"},
};

constexpr std::string_view kLayerPrefix = "model.layers.";

bool has_tensor(const Architecture& architecture, std::string_view name) {
  const auto has = [&](std::span<const LayerTensor> group) {
    return std::ranges::find(group, name, &LayerTensor::name) != group.end();
  };
  return std::ranges::any_of(layer_tensors(architecture, {}, 0), has) || has(architecture.experts);
}

/// "weight", "bias": what follows the last dot; all other names are whole.
std::pair<std::string_view, std::string_view> cut_part(std::string_view name) {
  const size_t dot = name.rfind('.');
  const std::string_view part = dot == name.npos ? "" : name.substr(dot + 1);
  if (part != "weight" && part != "bias") return {name, {}};
  return {name.substr(0, dot), part};
}

/// The inverse.
std::string joined(std::string_view name, std::string_view part) {
  return part.empty() ? std::string(name) : fmt::format("{}.{}", name, part);
}

/// Multimodal checkpoints have the text model under names of their own.
std::string plain_name(std::string_view name) {
  for (const std::string_view prefix : {"language_model.model.", "model.language_model."}) {
    if (name.starts_with(prefix)) return fmt::format("model.{}", name.substr(prefix.size()));
  }
  constexpr std::string_view kHead = "language_model.lm_head";
  return std::string(name.starts_with(kHead) ? name.substr(kHead.find('.') + 1) : name);
}

}  // namespace

const CheckpointKind* find_checkpoint_kind(std::string_view model_type) {
  const auto found = std::ranges::find(kCheckpointKinds, model_type, &CheckpointKind::model_type);
  return found == std::end(kCheckpointKinds) ? nullptr : found;
}

std::span<const ConfigKey> common_keys() { return kCommonKeys; }
std::span<const RefusedField> refused_fields() { return kRefusedFields; }

std::optional<std::string> gguf_name(std::string_view full, const Architecture& architecture) {
  const std::string name = plain_name(full);
  const auto [whole, part] = cut_part(name);
  for (const NamePair& pair : kModelNames) {
    if (pair.checkpoint == whole) return joined(pair.gguf, part);
  }
  if (!whole.starts_with(kLayerPrefix)) return std::nullopt;
  const std::string_view rest = whole.substr(kLayerPrefix.size());
  const size_t dot = rest.find('.');
  uint32_t layer = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + std::min(dot, rest.size()), layer);
  if (dot == rest.npos || error != std::errc() || end != rest.data() + dot) return std::nullopt;
  // To be refused by its name, or to be seen beside the part of the layer that it belongs to.
  std::optional<std::string> other;
  for (const auto& [block, group] : {std::pair("self_attn.", "attn_"), std::pair("mlp.", "ffn_")}) {
    const std::string_view own = rest.substr(dot + 1);
    if (own.starts_with(block))
      other =
          joined(fmt::format("blk.{}.{}{}", layer, group, own.substr(std::string_view(block).size())), part);
  }
  for (const NamePair& pair : kLayerNames) {
    if (pair.checkpoint != rest.substr(dot + 1) || has_tensor(architecture, pair.without)) continue;
    if (pair.part.empty() == part.empty()) continue;
    const std::string gguf = joined(pair.gguf, pair.part.empty() ? part : pair.part);
    if (has_tensor(architecture, gguf)) return fmt::format("blk.{}.{}", layer, gguf);
    other = fmt::format("blk.{}.{}", layer, gguf);
  }
  return other;
}

std::string checkpoint_name(std::string_view gguf, const Architecture& architecture) {
  const auto [whole, part] = cut_part(gguf);
  for (const NamePair& pair : kModelNames) {
    if (pair.gguf == whole) return joined(pair.checkpoint, part);
  }
  if (!whole.starts_with("blk.")) return std::string(gguf);
  const std::string_view rest = whole.substr(4);
  const size_t dot = rest.find('.');
  if (dot == rest.npos) return std::string(gguf);
  for (const NamePair& pair : kLayerNames) {
    if (pair.gguf != rest.substr(dot + 1)) continue;
    const std::string name =
        joined(fmt::format("{}{}.{}", kLayerPrefix, rest.substr(0, dot), pair.checkpoint),
               pair.part.empty() ? part : "");
    if (gguf_name(name, architecture) == gguf) return name;
  }
  return std::string(gguf);
}

std::optional<int64_t> layer_of(std::string_view full) {
  const std::string name = plain_name(full);
  if (!name.starts_with(kLayerPrefix)) return std::nullopt;
  int64_t layer = 0;
  const char* begin = name.data() + kLayerPrefix.size();
  const auto [end, error] = std::from_chars(begin, name.data() + name.size(), layer);
  return error == std::errc() && end != begin ? std::optional(layer) : std::nullopt;
}

bool is_unused(std::string_view name) {
  if (name.ends_with(".rotary_emb.inv_freq")) return true;
  for (const std::string_view prefix :
       {"vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."}) {
    if (name.starts_with(prefix)) return true;
  }
  return false;
}

}  // namespace greta
