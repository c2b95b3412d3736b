// greta isolate on a tiny model of every architecture: clean, nothing but EQUAL and ROUNDING; with a fault of
// what only some models have, a finding at its place, named.

#include <gmock/gmock.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "e2e/program.h"
#include "io/archive.h"

namespace greta {
namespace {

class ArchitecturesIsolate : public testing::Test {
 protected:
  std::string model_file(const std::string& model) const {
    const std::string path = scratch_ / (model + ".gguf");
    const auto files = read_archive(GRETA_SOURCE_DIR "/tests/goldens/architectures/" + model + ".tgz",
                                    [](const std::string& name) { return name == "model.gguf"; });
    const std::vector<std::byte>& bytes = files.at("model.gguf");
    test::write_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    return path;
  }

  nlohmann::json verdict_of(const std::string& model, const std::string& fault, int exit_code) const {
    const std::string path = model_file(model);
    std::vector<std::string> arguments{
        "isolate", "-m", path, "--prompts", "p4_sys,p5_ba", "--out", scratch_ / "out", "--force", "--json"};
    if (model.ends_with("_long")) arguments.insert(arguments.end(), {"--context", "1024"});
    if (!fault.empty()) arguments.insert(arguments.end(), {"--inject", fault});
    const test::Outcome outcome = test::run_greta(arguments);
    EXPECT_EQ(outcome.exit_code, exit_code) << model << " " << fault << outcome.err;
    return nlohmann::json::parse(outcome.out);
  }

  test::Scratch scratch_;
};

TEST_F(ArchitecturesIsolate, WhatAGpuHasNoKernelsForIsRefusedInOneLine) {
  for (const auto& [model, what] : {std::pair{"gemma2", "has soft caps"},
                                    {"yarn", "a RoPE with a magnitude"},
                                    {"deepseek2", "latent attention"},
                                    {"mixtral", "a mixture of experts"}}) {
    const test::Outcome outcome =
        test::run_greta({"run", "-m", model_file(model), "--device", "emu:h100", "-p", "abc", "-n", "1"});
    EXPECT_EQ(outcome.exit_code, 2) << model;
    EXPECT_THAT(outcome.err, testing::HasSubstr(what)) << model;
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
  }
}

TEST_F(ArchitecturesIsolate, CleanRunsAreEqualOrRounding) {
  for (const char* model :
       {"llama",   "qwen2",   "qwen3",    "gemma3",        "phi3",      "mistral",       "smollm3", "olmo2",
        "granite", "tuned",   "mixtral",  "qwen2moe",      "qwen3moe",  "gemma2",        "gpt-oss", "yarn",
        "linear",  "partial", "longrope", "longrope_long", "deepseek2", "deepseek2_lite"}) {
    const nlohmann::json verdict = verdict_of(model, "", 0);
    EXPECT_EQ(verdict["verdict"], "ROUNDING") << model;  // E1 and E4 compare two routes
    EXPECT_EQ(verdict["coverage"]["percent"], 100.0) << model;
    for (const nlohmann::json& cell : verdict["cells"]) EXPECT_LE(cell["max_noise_ratio"], 1.0) << model;
  }
}

TEST_F(ArchitecturesIsolate, FaultsAreFoundAtTheirPlaceAndNamed) {
  struct Case {
    const char *model, *fault, *stage, *hypothesis;
    int layer;
  };
  for (const Case& c :
       {Case{"qwen2", "q_bias_omitted@decode:0", "q", "wrong_bias", 0},
        Case{"qwen2", "v_bias_twice@prefill:1", "v", "wrong_bias", 1},
        Case{"qwen2", "wq_column_major@prefill:0", "q", "weight_column_major", 0},
        Case{"qwen3", "q_norm_omitted@decode:0", "q_norm", "norm_omitted", 0},
        Case{"olmo2", "k_norm_omitted@prefill:1", "k_norm", "norm_omitted", 1},
        Case{"gemma3", "window_ignored@decode:0", "qk", "window", 0},
        Case{"gemma3", "window_halved@prefill:1", "qk", "window", 1},
        Case{"gemma3", "attn_post_norm_omitted@decode:2", "attn_post_norm", "norm_omitted", 2},
        Case{"gemma3", "attn_norm_eps@decode:0", "attn_norm", "norm_eps", 0},
        Case{"gemma3", "act_gelu_erf@decode:1", "act", "wrong_activation", 1},
        Case{"gemma2", "qk_cap_omitted@decode:1", "qk", "softcap", 1},
        Case{"gemma2", "qk_cap_other@prefill:0", "qk", "softcap", 0},
        Case{"gemma2", "qk_cap_before_scale@decode:0", "qk", "softcap_order", 0},
        Case{"gemma2", "qk_cap_after_mask@prefill:1", "qk", "softcap_order", 1},
        Case{"gemma2", "qk_cap_twice@decode:2", "qk", "softcap_order", 2},
        Case{"gemma2", "logits_cap_omitted@decode", "logits", "softcap", -1},
        Case{"gemma2", "logits_cap_other@decode", "logits", "softcap", -1},
        Case{"gemma2", "logits_cap_twice@prefill", "logits", "softcap_order", -1},
        Case{"gemma2", "window_ignored@decode:0", "qk", "window", 0},
        Case{"yarn", "q_rope_yarn_ignored@decode:0", "q_rope", "rope_yarn", 0},
        Case{"yarn", "k_rope_yarn_linear@prefill:1", "k_rope", "rope_yarn", 1},
        Case{"yarn", "q_rope_yarn_reversed@decode:2", "q_rope", "rope_yarn", 2},
        Case{"yarn", "q_rope_magnitude_omitted@prefill:0", "q_rope", "rope_magnitude", 0},
        Case{"yarn", "k_rope_magnitude_twice@decode:1", "k_rope", "rope_magnitude", 1},
        Case{"longrope", "q_rope_other_factors@decode:0", "q_rope", "rope_factors", 0},
        Case{"longrope_long", "k_rope_other_factors@prefill:1", "k_rope", "rope_factors", 1},
        Case{"longrope", "q_rope_magnitude_omitted@prefill:2", "q_rope", "rope_magnitude", 2},
        Case{"longrope_long", "k_rope_magnitude_twice@decode:3", "k_rope", "rope_magnitude", 3},
        Case{"llama", "q_rope_factors_omitted@decode:1", "q_rope", "rope_factors", 1},
        Case{"deepseek2", "v_norm_omitted@decode:0", "v_norm", "norm_omitted", 0},
        Case{"deepseek2", "q_a_norm_omitted@prefill:1", "q_a_norm", "norm_omitted", 1},
        Case{"deepseek2", "k_b_next_head@decode:0", "q_absorbed", "head_matrix", 0},
        Case{"deepseek2_lite", "k_b_first_head@prefill:1", "q_absorbed", "head_matrix", 1},
        Case{"deepseek2", "v_b_next_head@prefill:2", "head_out", "head_matrix", 2},
        Case{"deepseek2_lite", "v_b_first_head@decode:0", "head_out", "head_matrix", 0},
        Case{"deepseek2", "q_latent_rope_first@decode:1", "q_latent", "latent_order", 1},
        Case{"deepseek2", "k_latent_rope_first@prefill:0", "k_latent", "latent_order", 0},
        Case{"deepseek2_lite", "k_latent_without_rope@decode:2", "k_latent", "output_zero", 2},
        Case{"deepseek2", "q_latent_first_head@prefill:0", "q_latent", "latent_order", 0},
        Case{"deepseek2", "q_rope_first_part@decode:0", "q_rope", "rope_part", 0},
        Case{"deepseek2", "k_rope_omitted@decode:1", "k_rope", "rope_omitted", 1},
        Case{"deepseek2", "q_rope_halves@prefill:0", "q_rope", "rope_style", 0},
        Case{"deepseek2", "qk_without_mscale@decode:0", "qk", "softmax_scale", 0},
        Case{"deepseek2_lite", "qk_scale_cached_width@prefill:1", "qk", "softmax_scale", 1},
        Case{"deepseek2_lite", "qk_scale_unrotated_width@decode:2", "qk", "softmax_scale", 2},
        Case{"deepseek2", "experts_unbiased@prefill:1", "experts", "expert_choice", 1},
        Case{"deepseek2", "experts_all_groups@prefill:2", "experts", "expert_choice", 2},
        Case{"deepseek2", "experts_groups_by_best@prefill:2", "experts", "expert_choice", 2},
        Case{"deepseek2", "expert_probs_softmax@decode:1", "expert_probs", "expert_probabilities", 1},
        Case{"deepseek2", "expert_weights_biased@prefill:1", "expert_weights", "expert_correction", 1},
        Case{"deepseek2", "expert_weights_unscaled@decode:2", "expert_weights", "expert_correction", 2},
        Case{"deepseek2_lite", "expert_weights_unscaled@decode:1", "expert_weights", "expert_correction", 1},
        Case{"deepseek2", "shared_expert_twice@prefill:1", "ffn_out", "shared_expert", 1},
        Case{"gpt-oss", "q_rope_yarn_ignored@prefill:1", "q_rope", "rope_yarn", 1},
        Case{"gpt-oss", "sink_omitted@decode:0", "softmax", "attention_sink", 0},
        Case{"gpt-oss", "sink_next_head@prefill:1", "softmax", "attention_sink", 1},
        Case{"gpt-oss", "sink_first_head@decode:2", "softmax", "attention_sink", 2},
        Case{"gpt-oss", "sink_scaled@decode:1", "softmax", "attention_sink", 1},
        Case{"gpt-oss", "swiglu_unclamped@prefill:0", "expert_act", "swiglu_oai", 0},
        Case{"gpt-oss", "swiglu_up_unclamped@prefill:1", "expert_act", "swiglu_oai", 1},
        Case{"gpt-oss", "swiglu_gate_clamped_below@prefill:2", "expert_act", "swiglu_oai", 2},
        Case{"gpt-oss", "swiglu_alpha_one@decode:0", "expert_act", "swiglu_oai", 0},
        Case{"gpt-oss", "swiglu_up_without_one@decode:1", "expert_act", "swiglu_oai", 1},
        Case{"gpt-oss", "expert_gate_bias_omitted@decode:0", "expert_gate", "expert_bias", 0},
        Case{"gpt-oss", "expert_up_bias_next@prefill:1", "expert_up", "expert_bias", 1},
        Case{"gpt-oss", "expert_down_bias_first@decode:2", "expert_down", "expert_bias", 2},
        Case{"gpt-oss", "expert_down_bias_omitted@prefill:0", "expert_down", "expert_bias", 0},
        Case{"gpt-oss", "router_bias_omitted@decode:0", "router", "wrong_bias", 0},
        Case{"gpt-oss", "attn_out_bias_omitted@decode:1", "attn_out", "wrong_bias", 1},
        Case{"phi3", "q_rope_halves@decode:0", "q_rope", "rope_style", 0},
        Case{"phi3", "wk_column_major@decode:1", "k", "weight_column_major", 1},
        Case{"smollm3", "k_rope_halves@prefill:0", "k_rope", "rope_style", 0},
        Case{"granite", "x_out_branch_scaled@decode:0", "x_out", "residual_scaled", 0},
        Case{"mixtral", "experts_lowest@decode:1", "experts", "wrong_expert", 1},
        Case{"qwen3moe", "experts_from_one@prefill:0", "experts", "wrong_expert", 0},
        Case{"qwen3moe", "expert_down_next@decode:2", "expert_down", "wrong_expert", 2},
        Case{"qwen3moe", "expert_gate_reads_up@decode:0", "expert_gate", "swapped_weight", 0},
        Case{"qwen3moe", "expert_weights_sum@decode:1", "expert_weights", "expert_weights_normalised", 1},
        Case{"qwen2moe", "expert_weights_sum@prefill:1", "expert_weights", "expert_weights_normalised", 1},
        Case{"mixtral", "expert_weights_reversed@decode:0", "expert_weights", "expert_order", 0},
        Case{"qwen3moe", "experts_out_last_dropped@prefill:2", "experts_out", "expert_dropped", 2},
        Case{"qwen2moe", "shared_expert_dropped@decode:1", "ffn_out", "shared_expert", 1},
        Case{"qwen2moe", "shared_expert_twice@decode:1", "ffn_out", "shared_expert", 1},
        Case{"qwen2moe", "shared_gate_omitted@prefill:0", "shared_out", "shared_expert_gate", 0}}) {
    const nlohmann::json verdict = verdict_of(c.model, c.fault, 1);
    ASSERT_FALSE(verdict["findings"].empty()) << c.fault;
    const nlohmann::json& finding = verdict["findings"][0];
    EXPECT_EQ(finding["stage"], c.stage) << c.fault;
    EXPECT_EQ(finding["layer"], c.layer) << c.fault;
    EXPECT_EQ(finding["hypothesis"], c.hypothesis) << c.fault;
  }
}

}  // namespace
}  // namespace greta
