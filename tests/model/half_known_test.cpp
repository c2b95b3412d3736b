// Models of which not all is known: what is bound, and what is not.

#include "model/half_known.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gguf_builder.h"
#include "gguf_error.h"

namespace greta {
namespace {

using test::as_bytes;
using test::Bytes;
using test::GgufBuilder;
using testing::HasSubstr;

/// Two layers of an architecture that nobody has: widths 8, 2 heads of 4, 1 of keys, 12, 6 tokens.
GgufBuilder nobodys(const std::string& name = "nobodys") {
  GgufBuilder file;
  file.set_string("general.architecture", name);
  file.set<uint32_t>(name + ".block_count", 2).set<uint32_t>(name + ".embedding_length", 8);
  file.set<uint32_t>(name + ".attention.head_count", 2).set<uint32_t>(name + ".attention.head_count_kv", 1);
  file.set<uint32_t>(name + ".feed_forward_length", 12);
  file.set<float>(name + ".attention.layer_norm_rms_epsilon", 1e-5F);
  file.add_f32("token_embd.weight", {8, 6}).add_f32("output_norm.weight", {8});
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    file.add_f32(layer + "attn_norm.weight", {8}).add_f32(layer + "ffn_norm.weight", {8});
    file.add_f32(layer + "attn_q.weight", {8, 8}).add_f32(layer + "attn_k.weight", {8, 4});
    file.add_f32(layer + "attn_v.weight", {8, 4}).add_f32(layer + "attn_output.weight", {8, 8});
    file.add_f32(layer + "ffn_gate.weight", {8, 12}).add_f32(layer + "ffn_up.weight", {8, 12});
    file.add_f32(layer + "ffn_down.weight", {12, 8});
  }
  return file;
}

/// The names of the stages that are known in a layer, -1 for those outside.
std::vector<std::string> known(const GgufBuilder& file, int layer) {
  const Bytes bytes = file.build();
  const Model model = bind_known(parse_gguf(as_bytes(bytes), "test.gguf"), "why");
  EXPECT_EQ(model.not_known, "why");
  std::vector<std::string> names;
  for (const StageInfo& row : kStageTable) {
    if (is_outside_layers(row.stage) != (layer < 0)) continue;
    if (is_known(model.config, {layer, row.stage})) names.emplace_back(name(row.stage));
  }
  return names;
}

using testing::ElementsAre;

TEST(HalfKnown, ProjectionsAndRmsNormsAreKnownInAnyArchitecture) {
  EXPECT_THAT(known(nobodys(), 1),
              ElementsAre("attn_norm", "q", "k", "v", "attn_out", "ffn_norm", "gate", "up", "down"));
  EXPECT_THAT(known(nobodys(), -1), ElementsAre("final_norm", "logits"));
}

TEST(HalfKnown, WhatIsStrangeInALayerIsNotKnown) {
  GgufBuilder file = nobodys();
  file.add_f32("blk.0.attn_gate.weight", {8, 8});  // may change what Wo reads
  file.erase_tensor("blk.1.ffn_gate.weight").add_f32("blk.1.ffn_gate.weight", {8, 13});
  file.add_f32("blk.1.attn_norm.bias", {8});
  EXPECT_THAT(known(file, 0), ElementsAre("attn_norm", "q", "k", "v", "ffn_norm", "gate", "up", "down"));
  EXPECT_THAT(known(file, 1), ElementsAre("q", "k", "v", "ffn_norm", "up", "down"));
}

TEST(HalfKnown, NormsOfHeadsAndOfBranchesAreNotStrange) {
  GgufBuilder file = nobodys();
  file.add_f32("blk.0.attn_q_norm.weight", {4}).add_f32("blk.0.post_attention_norm.weight", {8});
  EXPECT_THAT(known(file, 0), testing::Contains("attn_out"));
}

TEST(HalfKnown, AScaleOrAClampOfAProjectionMakesItUnknown) {
  GgufBuilder file = nobodys();
  file.add_f32("blk.0.ffn_up.scale", {1});
  EXPECT_THAT(known(file, 0), testing::Not(testing::Contains("up")));
  EXPECT_THAT(known(file, 0), testing::Contains("gate"));
  file.set<float>("nobodys.attention.clamp_kqv", 8);
  EXPECT_THAT(known(file, 1), ElementsAre("attn_norm", "attn_out", "ffn_norm", "gate", "up", "down"));
}

TEST(HalfKnown, WithoutAnRmsEpsilonNoNormIs) {
  GgufBuilder file = nobodys();
  file.erase("nobodys.attention.layer_norm_rms_epsilon").set<float>("nobodys.final_logit_softcapping", 30);
  EXPECT_THAT(known(file, 0), ElementsAre("q", "k", "v", "attn_out", "gate", "up", "down"));
  EXPECT_THAT(known(file, -1), ElementsAre());
}

TEST(HalfKnown, BiasesAreReadWhereTheyFit) {
  GgufBuilder file = nobodys();
  file.add_f32("blk.0.attn_q.bias", {8}).add_f32("blk.1.attn_q.bias", {7});
  EXPECT_THAT(known(file, 0), testing::Contains("q"));
  EXPECT_THAT(known(file, 1), testing::Not(testing::Contains("q")));
}

TEST(HalfKnown, AWholeModelIsOne) {
  const auto why_not = [](const GgufBuilder& file) -> std::string {
    const Bytes bytes = file.build();
    try {
      bind_model(parse_gguf(as_bytes(bytes), "test.gguf"));
    } catch (const NotKnown& why) {
      return why.what();
    }
    return "";
  };
  EXPECT_THAT(why_not(nobodys()), HasSubstr("the architecture 'nobodys' is not supported"));
}

/// The same layers as a llama's: what a strange tensor can't change is known as in any llama.
TEST(HalfKnown, AKnownArchitectureKeepsItsStages) {
  GgufBuilder file = nobodys("llama");
  file.add_f32("blk.0.attn_strange.weight", {8, 8});
  EXPECT_THAT(known(file, 0),
              ElementsAre("x_in", "attn_norm", "q_a", "q", "k", "v", "ffn_norm", "router", "expert_probs",
                          "experts", "expert_weights", "expert_gate", "expert_up", "expert_act",
                          "expert_down", "experts_out", "gate", "up", "act", "down", "shared_gate",
                          "shared_out", "ffn_out", "ffn_post_norm", "x_out"));
  EXPECT_THAT(known(file, 1), testing::IsSupersetOf({"q_rope", "kv_write", "qk", "softmax", "pv", "x_attn"}));
  EXPECT_THAT(known(file, -1), ElementsAre("final_norm", "logits"));

  file = nobodys("llama");
  file.add_f32("blk.0.ffn_down.scale", {1});
  EXPECT_THAT(known(file, 0),
              testing::AllOf(testing::Contains("act"), testing::Not(testing::Contains("down")),
                             testing::Contains("x_out")));
  // What may change anything leaves what all architectures have alike.
  file = nobodys("llama");
  file.add_f32("strange.weight", {8});
  EXPECT_THAT(known(file, 1), testing::Not(testing::Contains("qk")));
}

// A contradiction is no question of knowledge.
TEST(HalfKnown, ABrokenFileIsRefused) {
  GgufBuilder file = nobodys();
  file.erase("nobodys.block_count");
  const Bytes bytes = file.build();
  EXPECT_THAT(
      test::input_error([&] { bind_known(parse_gguf(as_bytes(bytes), "test.gguf"), "test.gguf: why"); }),
      HasSubstr("nobodys.block_count is not there"));
}

}  // namespace
}  // namespace greta
