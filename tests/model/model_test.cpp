// Binding: a model's hyperparameters and tensors, and every way in which they may disagree.

#include "model/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>

#include "model/architecture.h"
#include "model/gguf.h"
#include "model/gguf_builder.h"
#include "model/gguf_error.h"
#include "model/gguf_model_file.h"

namespace greta::test {
namespace {

using testing::HasSubstr;

/// A bound model together with the bytes that it points into.
struct Bound {
  explicit Bound(const GgufBuilder& file)
      : bytes(file.build()), model(bind_model(parse_gguf(as_bytes(bytes), "test.gguf"))) {}
  Bytes bytes;
  Model model;
};

TEST(BindModel, ReadsATinyLlama) {
  const Bound bound(tiny_llama());
  const ModelConfig& config = bound.model.config;
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.name, "tiny");
  EXPECT_EQ(config.n_layer, 2);
  EXPECT_EQ(config.n_embd, 8);
  EXPECT_EQ(config.n_ff, 12);
  EXPECT_EQ(config.n_head, 4);
  EXPECT_EQ(config.n_head_kv, 2);
  EXPECT_EQ(config.head_dim, 2);
  EXPECT_EQ(config.n_vocab, 6);
  EXPECT_EQ(config.n_ctx, 64);
  EXPECT_EQ(config.norm_eps, double{1e-5f});
  EXPECT_EQ(config.rope_base, 500.0);
  EXPECT_EQ(config.rope_dims, 2);
  EXPECT_TRUE(config.rope_adjacent);
  EXPECT_FALSE(config.tied_output);
}

TEST(BindModel, EveryRoleIsItsOwnTensor) {
  const Bound bound(tiny_llama());
  const Model& model = bound.model;
  EXPECT_EQ(model.token_embd->name, "token_embd.weight");
  EXPECT_EQ(model.output_norm->name, "output_norm.weight");
  EXPECT_EQ(model.output->name, "output.weight");
  ASSERT_EQ(model.layers.size(), 2u);
  EXPECT_EQ(model.layers[0].of(Stage::attn_norm)->name, "blk.0.attn_norm.weight");
  EXPECT_EQ(model.layers[0].of(Stage::q)->name, "blk.0.attn_q.weight");
  EXPECT_EQ(model.layers[0].of(Stage::k)->name, "blk.0.attn_k.weight");
  EXPECT_EQ(model.layers[0].of(Stage::v)->name, "blk.0.attn_v.weight");
  EXPECT_EQ(model.layers[0].of(Stage::attn_out)->name, "blk.0.attn_output.weight");
  EXPECT_EQ(model.layers[0].of(Stage::ffn_norm)->name, "blk.0.ffn_norm.weight");
  EXPECT_EQ(model.layers[0].of(Stage::gate)->name, "blk.0.ffn_gate.weight");
  EXPECT_EQ(model.layers[1].of(Stage::up)->name, "blk.1.ffn_up.weight");
  EXPECT_EQ(model.layers[1].of(Stage::down)->name, "blk.1.ffn_down.weight");
  EXPECT_EQ(model.layers[1].of(Stage::down), model.file.find_tensor("blk.1.ffn_down.weight"));
}

TEST(BindModel, FillsInTheDefaultsOfTheFamily) {
  GgufBuilder file = tiny_llama();
  for (const auto* key :
       {"general.name", "llama.context_length", "llama.rope.freq_base", "llama.vocab_size",
        "llama.rope.dimension_count", "llama.attention.head_count_kv", "tokenizer.ggml.tokens"}) {
    file.erase(key);
  }
  for (const auto* name :
       {"blk.0.attn_k.weight", "blk.0.attn_v.weight", "blk.1.attn_k.weight", "blk.1.attn_v.weight"}) {
    file.erase_tensor(name).add_f32(name, {8, 8});
  }
  file.erase_tensor("output.weight");
  const Bound bound(file);
  const ModelConfig& config = bound.model.config;
  EXPECT_EQ(config.name, "test.gguf");
  EXPECT_EQ(config.n_ctx, 2048);
  EXPECT_EQ(config.rope_base, 10000.0);
  EXPECT_EQ(config.rope_dims, config.head_dim);
  EXPECT_EQ(config.n_head_kv, config.n_head);
  EXPECT_TRUE(config.tied_output);
  EXPECT_EQ(bound.model.output, bound.model.token_embd);
}

TEST(BindModel, KeyLengthGivesTheHeadDim) {
  GgufBuilder file = tiny_llama();
  file.set<uint32_t>("llama.attention.key_length", 6).set<uint32_t>("llama.attention.value_length", 6);
  file.set<uint32_t>("llama.attention.head_count", 3).set<uint32_t>("llama.attention.head_count_kv", 1);
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    for (const auto* name : {"attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight"}) {
      file.erase_tensor(layer + name);
    }
    file.add_f32(layer + "attn_q.weight", {8, 18}).add_f32(layer + "attn_output.weight", {18, 8});
    file.add_f32(layer + "attn_k.weight", {8, 6}).add_f32(layer + "attn_v.weight", {8, 6});
  }
  EXPECT_EQ(Bound(file).model.config.head_dim, 6);
}

TEST(BindModel, ListsOfEqualNumbersAreRead) {
  GgufBuilder file = tiny_llama();
  file.set_array<int32_t>("llama.attention.head_count", {4, 4});
  file.set_array<uint32_t>("llama.attention.head_count_kv", {2, 2});
  file.set_array<uint64_t>("llama.feed_forward_length", {12, 12});
  const Bound bound(file);
  EXPECT_EQ(bound.model.config.n_head, 4);
  EXPECT_EQ(bound.model.config.n_head_kv, 2);
  EXPECT_EQ(bound.model.config.n_ff, 12);
}

TEST(BindModel, RowsThatPadTheTableNeedNoToken) {
  for (const uint32_t claimed : {4u, 6u}) {
    GgufBuilder file = tiny_llama();
    file.set_strings("tokenizer.ggml.tokens", {"a", "b", "c", "d"})
        .set<uint32_t>("llama.vocab_size", claimed);
    EXPECT_EQ(Bound(file).model.config.n_vocab, 6);
  }
}

TEST(BindModel, HarmlessKeysAreAccepted) {
  GgufBuilder file = tiny_llama();
  file.set_string("general.type", "model").set_string("llama.rope.scaling.type", "none");
  file.set<float>("llama.rope.scaling.factor", 8).set<uint32_t>("llama.expert_count", 0);
  file.set<bool>("llama.attention.causal", true).set<float>("llama.logit_scale", 1);
  file.set<uint32_t>("llama.attention.sliding_window", 64).set<uint16_t>("split.count", 1);
  EXPECT_EQ(Bound(file).model.config.n_layer, 2);
}

TEST(BindModel, BiasesOfFineTunesAreRead) {
  GgufBuilder file = tiny_llama();
  file.add_f32("blk.1.attn_k.bias", {4});
  const Bound bound(file);
  EXPECT_EQ(bias_of(bound.model, {Stage::k, 1}), bound.model.file.find_tensor("blk.1.attn_k.bias"));
  EXPECT_EQ(bias_of(bound.model, {Stage::k, 0}), nullptr);
}

TEST(BindModel, ATypeThatIsNewerIsRefusedOnUse) {
  GgufBuilder file = tiny_llama();
  for (auto& tensor : file.tensors) {
    if (tensor.name == "blk.1.ffn_up.weight") tensor.type = 40;
  }
  try {
    const Bound bound(file);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("the tensor blk.1.ffn_up.weight has type 40, which GRETA"));
  }
}

struct BadModel {
  std::string name;
  std::function<void(GgufBuilder&)> change;
  std::string message;
};

void PrintTo(const BadModel& bad, std::ostream* out) { *out << bad.name; }

/// The row for a u32 key.
BadModel number(std::string name, std::string key, uint32_t value, std::string message) {
  return {std::move(name), [=](GgufBuilder& file) { file.set<uint32_t>(key, value); }, std::move(message)};
}

BadModel real(std::string name, std::string key, float value, std::string message) {
  return {std::move(name), [=](GgufBuilder& file) { file.set<float>(key, value); }, std::move(message)};
}

BadModel text(std::string name, std::string key, std::string value, std::string message) {
  return {std::move(name), [=](GgufBuilder& file) { file.set_string(key, value); }, std::move(message)};
}

BadModel missing(std::string name, std::string key, std::string message) {
  return {std::move(name), [=](GgufBuilder& file) { file.erase(key); }, std::move(message)};
}

BadModel extra(std::string name, std::string tensor, std::string message) {
  return {std::move(name), [=](GgufBuilder& file) { file.add_f32(tensor, {8}); }, std::move(message)};
}

BadModel lost(std::string name, std::string tensor) {
  return {std::move(name), [=](GgufBuilder& file) { file.erase_tensor(tensor); },
          "the tensor " + tensor + " is missing"};
}

BadModel shape(std::string name, std::string tensor, std::vector<uint64_t> dims, std::string message) {
  return {std::move(name), [=](GgufBuilder& file) { file.erase_tensor(tensor).add_f32(tensor, dims); },
          "the tensor " + tensor + " has the shape " + message};
}

std::vector<BadModel> kinds_of_file() {
  return {
      missing("NoArchitecture", "general.architecture", "general.architecture is missing"),
      text("UnknownArchitecture", "general.architecture", "mamba\n",
           "the architecture 'mamba\\x0a' is not supported; known: llama"),
      number("ArchitectureIsANumber", "general.architecture", 1,
             "general.architecture is an unsigned integer"),
      text("Adapter", "general.type", "adapter", "general.type is 'adapter'; expected a model"),
      {"SecondPart",
       [](GgufBuilder& file) {
         file.set<uint16_t>("split.count", 3).set<uint16_t>("split.no", 1).erase("general.architecture");
       },
       "part 2 of 3 of a split model; merge them first"},
      number("Split", "split.count", 3, "one of 3 parts of a split model; merge them first"),
  };
}

std::vector<BadModel> ranges() {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  const std::string eps = "llama.attention.layer_norm_rms_epsilon";
  return {
      missing("NoLayerCount", "llama.block_count", "the metadata key llama.block_count is missing"),
      number("LayersZero", "llama.block_count", 0, "llama.block_count is 0; it must be from 1 to 4096"),
      number("Layers2To31", "llama.block_count", 1u << 31,
             "llama.block_count is 2147483648; it must be at most 4096"),
      number("LayersMoreThanTensors", "llama.block_count", 3, "the tensor blk.2.attn_q.weight is missing"),
      number("LayersFewerThanTensors", "llama.block_count", 1,
             "the tensor blk.1.attn_norm.weight has no place"),
      text("LayersIsText", "llama.block_count", "2", "llama.block_count is a string; expected an integer"),
      missing("NoWidth", "llama.embedding_length", "llama.embedding_length is missing"),
      number("WidthZero", "llama.embedding_length", 0, "llama.embedding_length is 0"),
      number("WidthHuge", "llama.embedding_length", 0xffffffff, "llama.embedding_length is 4294967295"),
      missing("NoFeedForward", "llama.feed_forward_length", "llama.feed_forward_length is missing"),
      number("FeedForwardZero", "llama.feed_forward_length", 0, "llama.feed_forward_length is 0"),
      missing("NoHeads", "llama.attention.head_count", "llama.attention.head_count is missing"),
      number("HeadsZero", "llama.attention.head_count", 0, "llama.attention.head_count is 0"),
      number("KvHeadsZero", "llama.attention.head_count_kv", 0, "llama.attention.head_count_kv is 0"),
      number("ContextZero", "llama.context_length", 0, "llama.context_length is 0"),
      number("ContextHuge", "llama.context_length", 0xffffffff, "llama.context_length is 4294967295"),
      missing("NoEpsilon", eps, eps + " is missing"),
      real("EpsilonZero", eps, 0, eps + " is 0; it must be a finite f32 above 0"),
      real("EpsilonNegative", eps, -1e-5f, eps + " is -"),
      real("EpsilonNan", eps, nan, eps + " is nan"),
      real("EpsilonInfinite", eps, infinity, eps + " is inf"),
      {"EpsilonUnderflows", [=](GgufBuilder& f) { f.set<double>(eps, 1e-300); }, eps + " is 1e-300"},
      real("RopeBaseZero", "llama.rope.freq_base", 0, "llama.rope.freq_base is 0"),
      real("RopeBaseNan", "llama.rope.freq_base", nan, "llama.rope.freq_base is nan"),
  };
}

std::vector<BadModel> disagreements() {
  return {
      number("HeadsDoNotDivideWidth", "llama.attention.head_count", 6,
             "llama.attention.head_count is 6, which does not divide llama.embedding_length, 8"),
      number("KvHeadsDoNotDivideHeads", "llama.attention.head_count_kv", 3,
             "llama.attention.head_count_kv is 3, which does not divide llama.attention.head_count, 4"),
      number("MoreKvHeadsThanHeads", "llama.attention.head_count_kv", 8, "which does not divide"),
      number("KvHeadsAgainstShape", "llama.attention.head_count_kv", 1,
             "the tensor blk.0.attn_k.weight has the shape [8, 4]; the hyperparameters demand [8, 2]"),
      number("KeyLengthAgainstShape", "llama.attention.key_length", 4,
             "the tensor blk.0.attn_q.weight has the shape"),
      number("KeyLengthZero", "llama.attention.key_length", 0, "llama.attention.key_length is 0"),
      number("ValueLengthDiffers", "llama.attention.value_length", 4, "llama.attention.value_length is 4"),
      number("RopeDimsOdd", "llama.rope.dimension_count", 1,
             "llama.rope.dimension_count is 1; it must be even"),
      number("RopeDimsZero", "llama.rope.dimension_count", 0, "llama.rope.dimension_count is 0"),
      number("RopeDimsAboveHead", "llama.rope.dimension_count", 4, "at most the 2 dims of a head"),
      number("WidthAgainstShape", "llama.embedding_length", 16,
             "the tensor token_embd.weight has the shape [8, 6]; the hyperparameters demand [16, 6]"),
      number("FeedForwardAgainstShape", "llama.feed_forward_length", 8,
             "the tensor blk.0.ffn_gate.weight has the shape [8, 12]; the hyperparameters demand [8, 8]"),
      number("VocabularyAgainstRows", "llama.vocab_size", 7,
             "llama.vocab_size is 7, but token_embd.weight has 6 rows"),
      {"TokensAgainstRows",
       [](GgufBuilder& f) {
         f.set_strings("tokenizer.ggml.tokens", {"a", "b", "c", "d", "e", "f", "g"});
       },
       "tokenizer.ggml.tokens has 7 tokens, but token_embd.weight has 6 rows"},
      {"TokensAreNumbers", [](GgufBuilder& f) { f.set_array<int32_t>("tokenizer.ggml.tokens", {1}); },
       "tokenizer.ggml.tokens is an array of i32; expected an array of string"},
      {"KvHeadsDifferBetweenLayers",
       [](GgufBuilder& f) {
         f.set_array<uint32_t>("llama.attention.head_count_kv", {2, 4});
       },
       "llama.attention.head_count_kv differs between layers"},
      {"KvHeadsOfAnotherLayerCount",
       [](GgufBuilder& f) {
         f.set_array<uint32_t>("llama.attention.head_count_kv", {2, 2, 2});
       },
       "llama.attention.head_count_kv has 3 numbers for 2 layers"},
      {"KvHeadsZeroInList",
       [](GgufBuilder& f) {
         f.set_array<int32_t>("llama.attention.head_count_kv", {0, 0});
       },
       "llama.attention.head_count_kv is 0; it must be from 1"},
      {"KvHeadsListOfFloats",
       [](GgufBuilder& f) {
         f.set_array<float>("llama.attention.head_count_kv", {2, 2});
       },
       "llama.attention.head_count_kv is an array of f32"},
  };
}

std::vector<BadModel> tensors() {
  return {
      lost("NoEmbedding", "token_embd.weight"),
      lost("NoOutputNorm", "output_norm.weight"),
      lost("NoQ", "blk.1.attn_q.weight"),
      lost("NoDown", "blk.0.ffn_down.weight"),
      shape("OutputRows", "output.weight", {8, 5}, "[8, 5]; the hyperparameters demand [8, 6]"),
      shape("NormTooShort", "output_norm.weight", {7}, "[7]; the hyperparameters demand [8, 1]"),
      shape("DownTransposed", "blk.0.ffn_down.weight", {8, 12},
            "[8, 12]; the hyperparameters demand [12, 8]"),
      shape("ThreeDims", "blk.0.attn_q.weight", {8, 8, 2}, "[8, 8, 2]; the hyperparameters demand [8, 8]"),
      {"NormIsF16",
       [](GgufBuilder& f) {
         f.tensor("blk.0.attn_norm.weight").type = 1;
         f.tensor("blk.0.attn_norm.weight").data = Bytes(16, '\0');
       },
       "the tensor blk.0.attn_norm.weight is f16; a norm must be f32"},
      extra("UnknownTensor", "blk.0.ssm_a",
            "the tensor blk.0.ssm_a has no place in a llama model of 2 layers"),
      extra("LayerWithLeadingZero", "blk.00.attn_norm.weight",
            "the tensor blk.00.attn_norm.weight has no place"),
  };
}

std::vector<BadModel> unsupported() {
  const std::string not_yet = "not supported yet: ";
  return {
      text("RopeScalingYarn", "llama.rope.scaling.type", "yarn", "llama.rope.scaling.factor is missing"),
      real("YarnsOtherMagnitude", "llama.rope.scaling.yarn_log_multiplier", 0.5f,
           "yarn_log_multiplier is 0.5; " + not_yet + "YaRN with another magnitude"),
      extra("Sinks", "blk.0.attn_sinks.weight", not_yet + "attention sinks"),
      text("RopeScalingLongrope", "llama.rope.scaling.type", "longrope",
           "llama.rope.scaling.original_context_length is missing"),
      text("RopeScalingDynamic", "llama.rope.scaling.type", "dynamic",
           "llama.rope.scaling.type is 'dynamic'"),
      real("RopeScalingFactor", "llama.rope.scaling.factor", -2, "llama.rope.scaling.factor is -2"),
      real("RopeScaleLinear", "llama.rope.scale_linear", 4, "llama.rope.scale_linear is 4; " + not_yet),
      extra("RopeFreqsTooMany", "rope_freqs.weight", "the tensor rope_freqs.weight has the shape"),
      extra("RopeFactors", "rope_factors_long.weight", "original_context_length is missing"),
      extra("BiasOfNorm", "blk.0.attn_norm.bias", "the tensor blk.0.attn_norm.bias; " + not_yet + "biases"),
      extra("BiasOfOutput", "output.bias", "the tensor output.bias; " + not_yet + "biases"),
      number("ExpertsByAnotherFunction", "llama.expert_gating_func", 2,
             "llama.expert_gating_func is 2; " + not_yet + "a choice of experts by another function"),
      extra("ExpertTensors", "blk.0.ffn_gate_exps.weight", not_yet + "a mixture of experts"),
      extra("ExpertGate", "blk.0.ffn_gate_inp.weight", not_yet + "a mixture of experts"),
      extra("NormOfQ", "blk.0.attn_q_norm.weight", not_yet + "a norm of q"),
      extra("FusedQkv", "blk.0.attn_qkv.weight", not_yet + "fused q, k and v"),
      real("LogitScale", "llama.logit_scale", 0.5f, "llama.logit_scale is 0.5; " + not_yet),
      real("SoftCap", "llama.attn_logit_softcapping", 50, "llama.attn_logit_softcapping is 50; " + not_yet),
      real("NanScale", "llama.logit_scale", std::numeric_limits<float>::quiet_NaN(),
           "llama.logit_scale is nan"),
      text("ScaleIsText", "llama.logit_scale", "1", "llama.logit_scale is a string; expected a number"),
      {"NotCausal", [](GgufBuilder& f) { f.set<bool>("llama.attention.causal", false); },
       "llama.attention.causal is 0; " + not_yet},
  };
}

class RefusedModel : public testing::TestWithParam<BadModel> {};

TEST_P(RefusedModel, GivesOneClearError) {
  GgufBuilder file = tiny_llama();
  GetParam().change(file);
  const Bytes bytes = file.build();
  const std::string message = input_error([&] { bind_model(parse_gguf(as_bytes(bytes), "test.gguf")); });
  EXPECT_THAT(message, HasSubstr(GetParam().message));
}

const auto kRefusalName = [](const auto& info) { return info.param.name; };
INSTANTIATE_TEST_SUITE_P(KindsOfFile, RefusedModel, testing::ValuesIn(kinds_of_file()), kRefusalName);
INSTANTIATE_TEST_SUITE_P(Ranges, RefusedModel, testing::ValuesIn(ranges()), kRefusalName);
INSTANTIATE_TEST_SUITE_P(Disagreements, RefusedModel, testing::ValuesIn(disagreements()), kRefusalName);
INSTANTIATE_TEST_SUITE_P(Tensors, RefusedModel, testing::ValuesIn(tensors()), kRefusalName);
INSTANTIATE_TEST_SUITE_P(Unsupported, RefusedModel, testing::ValuesIn(unsupported()), kRefusalName);

TEST(Architecture, PatternsMatchStartsAndEnds) {
  EXPECT_TRUE(matches("a.weight", "a.weight"));
  EXPECT_FALSE(matches("a.weight", "a.weights"));
  EXPECT_TRUE(matches("*.bias", "blk.3.attn_q.bias"));
  EXPECT_FALSE(matches("*.bias", "bias"));
  EXPECT_TRUE(matches("rope_factors_*", "rope_factors_short.weight"));
  EXPECT_FALSE(matches("rope_factors_*", "x.rope_factors_short.weight"));
}

TEST(BindModel, ReadsSmolLm2) {
  const auto path = model_file("SmolLM2-135M-Instruct.Q4_1.gguf");
  if (!path) GTEST_SKIP() << kNoModel;
  const Model model = open_model(*path);
  const ModelConfig& config = model.config;
  EXPECT_EQ(config.architecture, "llama");
  EXPECT_EQ(config.name, "Smollm2 135M 8k Lc100K Mix1 Ep2");
  EXPECT_EQ(config.n_layer, 30);
  EXPECT_EQ(config.n_embd, 576);
  EXPECT_EQ(config.n_ff, 1536);
  EXPECT_EQ(config.n_head, 9);
  EXPECT_EQ(config.n_head_kv, 3);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.n_vocab, 49152);
  EXPECT_EQ(config.n_ctx, 8192);
  EXPECT_EQ(config.norm_eps, double{1e-5f});
  EXPECT_EQ(config.rope_base, 100000.0);
  EXPECT_EQ(config.rope_dims, 64);
  EXPECT_TRUE(config.rope_adjacent);
  EXPECT_TRUE(config.tied_output);
  EXPECT_EQ(model.output, model.token_embd);
  EXPECT_EQ(model.token_embd->type, TensorType::q8_0);
  ASSERT_EQ(model.layers.size(), 30u);
  for (const LayerWeights& layer : model.layers) EXPECT_EQ(layer.of(Stage::down)->type, TensorType::q4_1);
}

}  // namespace
}  // namespace greta::test
