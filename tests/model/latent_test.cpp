// Models with latent attention and with LongRoPE, read and refused: the goldens of
// tests/goldens/architectures with keys and tensors changed.

#include <gmock/gmock.h>

#include <algorithm>

#include "io/archive.h"
#include "model/gguf.h"
#include "model/model.h"
#include "refusal.h"

namespace greta {
namespace {

using testing::HasSubstr;

class Golden {
 public:
  explicit Golden(const std::string& name)
      : files_(read_archive(GRETA_SOURCE_DIR "/tests/goldens/architectures/" + name + ".tgz",
                            [](const std::string& member) { return member == "model.gguf"; })),
        file_(parse_gguf(files_.at("model.gguf"), name)) {}

  Golden& set(std::string_view key, GgufValue value) {
    Metadata all = file_.metadata();
    std::erase_if(all, [&](const auto& entry) { return entry.first == key; });
    all.emplace_back(key, std::move(value));
    file_.set_metadata(std::move(all));
    return *this;
  }

  Golden& erase(std::string_view key) {
    Metadata all = file_.metadata();
    std::erase_if(all, [&](const auto& entry) { return entry.first == key; });
    file_.set_metadata(std::move(all));
    return *this;
  }

  Golden& erase_tensor(std::string_view name) {
    std::vector<Tensor> all = file_.tensors();
    std::erase_if(all, [&](const Tensor& tensor) { return tensor.name == name; });
    file_.set_tensors(std::move(all));
    return *this;
  }

  Golden& reshape(std::string_view name, std::array<uint64_t, 4> dims) {
    std::vector<Tensor> all = file_.tensors();
    for (Tensor& tensor : all) {
      if (tensor.name == name) tensor.dims = dims;
    }
    file_.set_tensors(std::move(all));
    return *this;
  }

  Model bind() { return bind_model(std::move(file_)); }
  std::string refusal() {
    return test::refusal_of([&] { bind(); });
  }

 private:
  std::map<std::string, std::vector<std::byte>> files_;
  ModelFile file_;
};

TEST(LatentAttention, HasItsWidthsAndStages) {
  const Model model = Golden("deepseek2").bind();
  const ModelConfig& config = model.config;
  EXPECT_EQ(config.head_dim, 96);
  EXPECT_EQ(config.query_dim(), 64);
  EXPECT_EQ(config.key_dim(), 32);
  EXPECT_EQ(config.value_dim(), 64);
  EXPECT_EQ(config.out_dim(), 48);
  // Scores are scaled by the width of q's heads, and by YaRN's factor squared; RoPE keeps its length.
  const double mscale = 1 + 0.1 * static_cast<double>(0.707f) * std::log(4.0);
  EXPECT_NEAR(config.attention_scale, mscale * mscale / 8, 1e-8);
  EXPECT_EQ(config.layer(0).rope_magnitude, 1);
  EXPECT_EQ(operands_at(config, {1, Stage::q}), (std::vector<At>{{1, Stage::q_a_norm}}));
  EXPECT_EQ(operands_at(config, {1, Stage::kv_write}),
            (std::vector<At>{{1, Stage::k_latent}, {1, Stage::v_norm}}));
  EXPECT_EQ(operands_at(config, {1, Stage::attn_out}), (std::vector<At>{{1, Stage::head_out}}));
  EXPECT_EQ(rope_first(Stage::q_rope, config), 32);
  EXPECT_EQ(rope_first(Stage::k_rope, config), 0);
  // A dense layer, then experts and the one that all share, wider.
  EXPECT_FALSE(has_stage(config, {0, Stage::router}));
  EXPECT_TRUE(has_stage(config, {1, Stage::expert_probs}));
  EXPECT_EQ(row_width({0, Stage::gate}, config, 0), 96);
  EXPECT_EQ(row_width({1, Stage::gate}, config, 0), 80);
  EXPECT_EQ(config.choice, (ExpertChoice{true, 2.5, 4, 2, 2}));
  const Model lite = Golden("deepseek2_lite").bind();
  EXPECT_FALSE(has_stage(lite.config, {1, Stage::q_a}));
  EXPECT_FALSE(has_stage(lite.config, {1, Stage::expert_probs}));
  EXPECT_EQ(operands_at(lite.config, {1, Stage::q}), (std::vector<At>{{1, Stage::attn_norm}}));
}

TEST(LatentAttention, IsRefusedInOneLineWhereItContradictsItself) {
  const auto said = [](const std::function<void(Golden&)>& change) {
    Golden golden("deepseek2");
    change(golden);
    return golden.refusal();
  };
  const auto with = [&](std::string_view key, uint64_t value) {
    return said([&](Golden& g) { g.set(key, value); });
  };
  for (const char* key : {"deepseek2.attention.kv_lora_rank", "deepseek2.attention.key_length_mla",
                          "deepseek2.attention.value_length_mla", "deepseek2.attention.value_length"})
    EXPECT_THAT(said([&](Golden& g) { g.erase(key); }), HasSubstr(std::string(key) + " is missing"));
  EXPECT_THAT(with("deepseek2.attention.key_length_mla", 32), HasSubstr("must be more than the 32 of"));
  EXPECT_THAT(with("deepseek2.attention.head_count_kv", 4), HasSubstr("it must be 1"));
  EXPECT_THAT(with("deepseek2.attention.key_length", 64), HasSubstr("it must be 96"));
  EXPECT_THAT(with("deepseek2.attention.kv_lora_rank", 48), HasSubstr("it must be 80"));
  EXPECT_THAT(with("deepseek2.attention.value_length_mla", 64),
              HasSubstr("the hyperparameters demand [64, 64, 4]"));
  EXPECT_THAT(with("deepseek2.leading_dense_block_count", 9), HasSubstr("is 9, of 3 layers"));
  EXPECT_THAT(with("deepseek2.leading_dense_block_count", 2),
              HasSubstr("has the tensor blk.1.exp_probs_b.bias"));
  EXPECT_THAT(with("deepseek2.expert_group_used_count", 1), HasSubstr("do not give 3 chosen ones"));
  EXPECT_THAT(with("deepseek2.expert_group_count", 3), HasSubstr("8 experts in 3 groups"));
  EXPECT_THAT(with("deepseek2.expert_gating_func", 4), HasSubstr("another function than softmax or sigmoid"));
  EXPECT_THAT(with("deepseek2.expert_shared_count", 3), HasSubstr("the hyperparameters demand [64, 120]"));
  EXPECT_THAT(said([](Golden& g) { g.erase_tensor("blk.1.attn_k_b.weight"); }),
              HasSubstr("attn_k_b.weight is missing"));
  EXPECT_THAT(said([](Golden& g) { g.erase_tensor("blk.1.attn_q_b.weight"); }),
              HasSubstr("the weight of q of layer 1 is missing"));
  EXPECT_THAT(said([](Golden& g) { g.erase_tensor("blk.2.attn_q_a_norm.weight"); }),
              HasSubstr("it needs both or none"));
  EXPECT_THAT(said([](Golden& g) {
                g.reshape("blk.0.attn_v_b.weight", {64, 48, 1, 1});
              }),
              HasSubstr("the hyperparameters demand [64, 48, 4]"));
}

TEST(LongRope, TakesTheTableThatFitsTheContext) {
  Model model = Golden("longrope").bind();
  EXPECT_EQ(model.config.rope_original, 256);
  EXPECT_EQ(model.rope_freqs, model.rope_short);
  set_context(model, 256);
  EXPECT_EQ(model.rope_freqs, model.rope_short);
  set_context(model, 257);
  EXPECT_EQ(model.rope_freqs, model.rope_long);
  EXPECT_NEAR(model.config.layer(0).rope_magnitude, std::sqrt(1 + std::log(4.0) / std::log(256.0)), 1e-7);
}

TEST(LongRope, IsRefusedInOneLineWhereItContradictsItself) {
  const auto said = [](const std::function<void(Golden&)>& change) {
    Golden golden("longrope");
    change(golden);
    return golden.refusal();
  };
  EXPECT_THAT(said([](Golden& g) { g.erase_tensor("rope_factors_short.weight"); }),
              HasSubstr("rope_factors_short.weight is missing, and the long one is there"));
  EXPECT_THAT(said([](Golden& g) { g.erase("phi3.rope.scaling.original_context_length"); }),
              HasSubstr("original_context_length is missing"));
  EXPECT_THAT(said([](Golden& g) {
                g.erase_tensor("rope_factors_short.weight").erase_tensor("rope_factors_long.weight");
                g.set("phi3.rope.scaling.type", std::string_view("longrope"));
              }),
              HasSubstr("rope_factors_long.weight is missing"));
  EXPECT_THAT(said([](Golden& g) {
                g.reshape("rope_factors_long.weight", {7, 1, 1, 1});
              }),
              HasSubstr("the hyperparameters demand [8, 1]"));
}

}  // namespace
}  // namespace greta
