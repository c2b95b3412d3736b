// A Hugging Face checkpoint as the model file: names, orders and numbers as a GGUF has them, and every lie of
// its files refused in one line. (That the logits are a GGUF's: tests/engine/checkpoint_test.cpp.)

#include <gmock/gmock.h>

#include <cstring>

#include "base/half.h"
#include "model/checkpoint/config.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "refusal.h"
#include "tiny_checkpoint.h"

namespace greta {
namespace {

using nlohmann::json;
using test::TinyCheckpoint;
using testing::ElementsAre;
using testing::HasSubstr;

std::vector<float> floats_of(std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / 4);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

/// The message of an input Error, one line that names the directory.
template <class Act>
std::string refusal(const TinyCheckpoint& checkpoint, Act act) {
  const std::string message = test::refusal_of(act);
  EXPECT_THAT(message, HasSubstr(checkpoint.path()));
  return message;
}

std::string refusal(const TinyCheckpoint& checkpoint) {
  return refusal(checkpoint, [&] { open_model(checkpoint.path()); });
}

TEST(Checkpoint, HasTheNamesAndNumbersOfAGguf) {
  const TinyCheckpoint checkpoint;
  const Model model = open_model(checkpoint.path() + "/");
  EXPECT_EQ(model.config.architecture, "llama");
  EXPECT_EQ(model.config.n_layer, 2);
  EXPECT_EQ(model.config.head_dim, 4);
  EXPECT_EQ(model.config.rope_base, 10000);
  EXPECT_EQ(model.config.n_ctx, 64);
  EXPECT_EQ(model.config.norm_eps, static_cast<double>(1e-5f));
  EXPECT_FALSE(model.config.tied_output);
  EXPECT_EQ(model.file.format(), "safetensors");
  EXPECT_EQ(model.file.find_strings("tokenizer.ggml.tokens")->strings.at(9), "[PAD9]");
}

TEST(Checkpoint, RowsOfQAndKAreReadAsPairs) {
  const TinyCheckpoint checkpoint;
  const Model model = open_model(checkpoint.path());
  const Tensor& q = *weight_of(model, {Stage::q, 1});
  std::vector<float> first;  // of each row
  for (uint64_t row = 0; row < 8; ++row) first.push_back(floats_of(row_bytes(q, row, 8)).front());
  EXPECT_THAT(first, ElementsAre(0, 16, 8, 24, 32, 48, 40, 56));  // of a head of 4: rows 0, 2, 1, 3
  EXPECT_EQ(weight_of(model, {Stage::v, 1})->order, RowOrder{});
  EXPECT_THAT(floats_of(copy_rows(q, 1, 1, 8)), ElementsAre(16, 17, 18, 19, 20, 21, 22, 23));
}

TEST(Checkpoint, BiasesAndNormsAreF32) {
  const TinyCheckpoint checkpoint;
  auto tensors = test::tiny_tensors();
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    for (const auto& [name, width] : {std::pair("q", 8), std::pair("k", 4), std::pair("v", 4)}) {
      NamedBytes bias{layer + "self_attn." + name + "_proj.bias", "BF16", {width}, {}};
      for (int i = 0; i < width; ++i) {
        const uint16_t bits = f32_to_bf16(static_cast<float>(i));
        const auto bytes = std::as_bytes(std::span(&bits, 1));
        bias.data.insert(bias.data.end(), bytes.begin(), bytes.end());
      }
      tensors.push_back(bias);
    }
  }
  checkpoint.write_tensors("model.safetensors", tensors);
  const Model model = open_model(checkpoint.path());
  EXPECT_THAT(floats_of(bias_of(model, {Stage::k, 0})->data), ElementsAre(0, 2, 1, 3));
  EXPECT_THAT(floats_of(bias_of(model, {Stage::v, 0})->data), ElementsAre(0, 1, 2, 3));
}

TEST(Checkpoint, ShardsAreWhereTheIndexSays) {
  const TinyCheckpoint checkpoint;
  const auto tensors = test::tiny_tensors();
  json map;
  for (size_t i = 0; i < tensors.size(); ++i)
    map[tensors[i].name] = i % 2 == 0 ? "a.safetensors" : "b.safetensors";
  std::vector<NamedBytes> a, b;
  for (size_t i = 0; i < tensors.size(); ++i) (i % 2 == 0 ? a : b).push_back(tensors[i]);
  checkpoint.remove("model.safetensors");
  checkpoint.write_tensors("a.safetensors", a), checkpoint.write_tensors("b.safetensors", b);
  checkpoint.write("model.safetensors.index.json", json{{"weight_map", map}}.dump());
  const Model model = open_model(checkpoint.path());
  EXPECT_EQ(model.file.parts().size(), 3u);
  EXPECT_THAT(model.file.sha256(), testing::StartsWith("sha256:"));

  checkpoint.remove("b.safetensors");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("b.safetensors is missing"));
  b.pop_back();
  checkpoint.write_tensors("b.safetensors", b);
  EXPECT_THAT(refusal(checkpoint), HasSubstr("into b.safetensors, which does not have it"));
  map[tensors[0].name] = "../a.safetensors";
  checkpoint.write("model.safetensors.index.json", json{{"weight_map", map}}.dump());
  EXPECT_THAT(refusal(checkpoint), HasSubstr("expected the name of a .safetensors file"));
  checkpoint.write("model.safetensors.index.json", "{}");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("has no weight_map"));
}

TEST(Checkpoint, ATiedHeadIsTheEmbedding) {
  const TinyCheckpoint checkpoint;
  checkpoint.change_config({{"tie_word_embeddings", true}});
  EXPECT_TRUE(open_model(checkpoint.path()).config.tied_output);
  checkpoint.change_config({});
  auto tensors = test::tiny_tensors();
  tensors.erase(tensors.begin() + 2);
  checkpoint.write_tensors("model.safetensors", tensors);
  EXPECT_THAT(refusal(checkpoint), HasSubstr("lm_head.weight is missing"));
}

TEST(Checkpoint, ConfigThatContradictsTheTensors) {
  const TinyCheckpoint checkpoint;
  const auto with = [&](const json& fields) {
    checkpoint.change_config(fields);
    return refusal(checkpoint);
  };
  EXPECT_THAT(
      with({{"intermediate_size", 7}}),
      HasSubstr(
          "model.layers.0.mlp.gate_proj.weight has the shape [8, 6]; the hyperparameters demand [8, 7]"));
  EXPECT_THAT(with({{"num_hidden_layers", 3}}),
              HasSubstr("model.layers.2.self_attn.q_proj.weight is missing"));
  EXPECT_THAT(with({{"num_hidden_layers", 1}}), HasSubstr("model.layers.1."));
  EXPECT_THAT(with({{"num_key_value_heads", 2}}), HasSubstr("model.layers.0.self_attn.k_proj.weight"));
  EXPECT_THAT(with({{"num_attention_heads", 0}}), HasSubstr("num_attention_heads"));
  EXPECT_THAT(with({{"num_attention_heads", 9}}), HasSubstr("num_attention_heads"));
  EXPECT_THAT(with({{"hidden_size", "eight"}}), HasSubstr("hidden_size"));
  EXPECT_THAT(with({{"hidden_size", nullptr}}), HasSubstr("hidden_size"));
  EXPECT_THAT(with({{"vocab_size", 11}}), HasSubstr("vocab_size"));
}

TEST(Checkpoint, WhatChangesTheComputationIsRefusedByName) {
  const TinyCheckpoint checkpoint;
  const auto with = [&](const json& fields) {
    checkpoint.change_config(fields);
    return refusal(checkpoint);
  };
  EXPECT_THAT(with({{"model_type", "mamba2"}}), HasSubstr("'mamba2'"));
  EXPECT_THAT(with({{"hidden_act", "relu"}}), HasSubstr("\"relu\"; of a llama model GRETA computes silu"));
  EXPECT_THAT(with({{"quantization_config", {{"quant_method", "awq"}}}}),
              HasSubstr("quantised by awq, and no tensor is stored so"));
  EXPECT_THAT(with({{"quantization_config", {{"quant_method", "hqq"}}}}),
              HasSubstr("quantised by hqq; GRETA reads fp8,"));
  EXPECT_THAT(with({{"num_local_experts", 8}}), HasSubstr("a mixture of experts"));
  EXPECT_THAT(with({{"rope_scaling", {{"rope_type", "longrope"}, {"factor", 4}}}}),
              HasSubstr("\"original_max_position_embeddings\" is missing"));
  EXPECT_THAT(with({{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4}, {"mscale", 1}}}}),
              HasSubstr("YaRN with another magnitude"));
  EXPECT_THAT(with({{"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4}, {"truncate", false}}}}),
              HasSubstr("must be true in a llama model"));
  EXPECT_THAT(with({{"attn_logit_softcapping", 50}}), HasSubstr("soft-capping of the attention scores"));
  EXPECT_THAT(with({{"layer_types", {"full_attention"}}}), HasSubstr("a list of 2 entries"));
}

TEST(Checkpoint, RopeIsReadInOldAndNewWords) {
  const TinyCheckpoint checkpoint;
  checkpoint.change_config({{"rope_theta", 5000}, {"rope_scaling", {{"type", "linear"}, {"factor", 4}}}});
  Model model = open_model(checkpoint.path());
  EXPECT_EQ(model.config.rope_base, 5000);
  EXPECT_EQ(model.config.layer(0).rope_scale, 0.25);
  // attention_factor is the whole magnitude, in the place of 0.1 ln(factor) + 1.
  checkpoint.change_config({{"rope_scaling",
                             {{"type", "yarn"},
                              {"factor", 4},
                              {"original_max_position_embeddings", 64},
                              {"attention_factor", 1.5},
                              {"beta_fast", 16}}}});
  const LayerConfig layer = open_model(checkpoint.path()).config.layer(0);
  EXPECT_EQ(layer.yarn, (YarnRope{4, 64, 16, 1, true}));
  EXPECT_NEAR(layer.rope_magnitude, 1.5, 1e-7);  // the key is an f32
  checkpoint.change_config({{"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 7000}}}});
  EXPECT_EQ(open_model(checkpoint.path()).config.rope_base, 7000);
  checkpoint.change_config({{"rope_parameters",
                             {{"rope_type", "llama3"},
                              {"rope_theta", 10000},
                              {"factor", 8},
                              {"low_freq_factor", 1},
                              {"high_freq_factor", 4},
                              {"original_max_position_embeddings", 64}}}});
  EXPECT_THAT(floats_of(open_model(checkpoint.path()).rope_freqs->data), ElementsAre(1, 8));
}

/// Of a model that also sees, the text is what is computed.
TEST(Checkpoint, TheTextOfAMultimodalModel) {
  const TinyCheckpoint checkpoint;
  checkpoint.write("config.json", json{{"model_type", "llava"}, {"text_config", test::tiny_config()}}.dump());
  for (const std::string prefix : {"language_model.", "model.language_model."}) {
    auto tensors = test::tiny_tensors();
    for (NamedBytes& tensor : tensors) {
      const bool plain = prefix.starts_with("model.") && tensor.name.starts_with("model.");
      tensor.name = plain ? prefix + tensor.name.substr(6) : "language_model." + tensor.name;
    }
    tensors.push_back(test::tiny_tensor("vision_tower.patch.weight", {2, 2}));
    checkpoint.write_tensors("model.safetensors", tensors);
    EXPECT_EQ(open_model(checkpoint.path()).config.n_layer, 2);
  }
}

TEST(Checkpoint, WhatIsNoCheckpoint) {
  const TinyCheckpoint checkpoint;
  checkpoint.write("config.json", "{");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("config.json: not valid JSON"));
  checkpoint.remove("config.json");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("has no config.json"));
  checkpoint.remove("model.safetensors");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("is the download complete?"));
  checkpoint.write("pytorch_model.bin", "PK");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("safe_serialization"));
  checkpoint.write("m.gguf", "GGUF"), checkpoint.remove("pytorch_model.bin");
  EXPECT_THAT(refusal(checkpoint), HasSubstr("name that file"));
  const auto part = [&](const std::string& name) {
    return refusal(checkpoint, [&] { open_model(checkpoint.path() + name); });
  };
  EXPECT_THAT(part("/model.safetensors"), HasSubstr("name its directory"));
}

TEST(Checkpoint, DtypesAndShapesThatAreNone) {
  const TinyCheckpoint checkpoint;
  auto tensors = test::tiny_tensors();
  tensors[0].dtype = "I32";
  checkpoint.write_tensors("model.safetensors", tensors);
  EXPECT_THAT(refusal(checkpoint), HasSubstr("model.embed_tokens.weight is I32; GRETA reads F32, F16, BF16"));
  tensors = test::tiny_tensors();
  tensors.push_back(test::tiny_tensor("model.layers.0.self_attn.q_norm.weight", {4}));
  checkpoint.write_tensors("model.safetensors", tensors);
  EXPECT_THAT(refusal(checkpoint), HasSubstr("a norm of q"));
  tensors.back().name = "model.layers.0.self_attn.rotary_emb.inv_freq";  // a buffer of old checkpoints
  checkpoint.write_tensors("model.safetensors", tensors);
  EXPECT_NO_THROW(open_model(checkpoint.path()));
}

TEST(Checkpoint, LlamaThreesFactors) {
  // The frequencies that llama.cpp's converter and transformers give a head of 64 (factor 32, low 1, high 4,
  // original 8192, base 500000), of pairs 0, 14, 17, 31. Tolerance: f32's rounding of a few steps.
  const std::vector<float> factors = llama3_factors(500000, 64, {32, 1, 4, 8192});
  ASSERT_EQ(factors.size(), 32u);
  EXPECT_EQ(factors[0], 1);
  EXPECT_EQ(factors[31], 32);
  EXPECT_GT(factors[16], 1);
  EXPECT_LT(factors[16], 32);
}

}  // namespace
}  // namespace greta
