// Models with experts, read and refused.

#include <gmock/gmock.h>

#include "base/error.h"
#include "model/gguf.h"
#include "model/gguf_builder.h"
#include "model/model.h"

namespace greta::test {
namespace {

using testing::HasSubstr;

/// tiny_llama() with 3 experts in the place of its dense part, of which a token has 2.
GgufBuilder tiny_mixtral() {
  GgufBuilder file = tiny_llama();
  file.set<uint32_t>("llama.expert_count", 3).set<uint32_t>("llama.expert_used_count", 2);
  for (const std::string layer : {"blk.0.", "blk.1."}) {
    for (const auto* name : {"ffn_gate.weight", "ffn_up.weight", "ffn_down.weight"})
      file.erase_tensor(layer + name);
    file.add_f32(layer + "ffn_gate_inp.weight", {8, 3})
        .add_f32(layer + "ffn_gate_exps.weight", {8, 12, 3})
        .add_f32(layer + "ffn_up_exps.weight", {8, 12, 3})
        .add_f32(layer + "ffn_down_exps.weight", {12, 8, 3});
  }
  return file;
}

struct Opened {
  Bytes bytes;
  Model model;
  explicit Opened(const GgufBuilder& file)
      : bytes(file.build()), model(bind_model(parse_gguf(std::as_bytes(std::span(bytes)), "test.gguf"))) {}
};

TEST(ModelWithExperts, HasTheirStagesAndNoDenseOnes) {
  const Opened opened(tiny_mixtral());
  const ModelConfig& config = opened.model.config;
  EXPECT_EQ(config.n_expert, 3);
  EXPECT_EQ(config.n_expert_used, 2);
  EXPECT_EQ(config.n_ff_expert, 12);
  EXPECT_TRUE(config.experts_sum_to_1);
  for (const Stage stage : {Stage::router, Stage::experts, Stage::expert_act, Stage::experts_out})
    EXPECT_TRUE(has_stage(config, {1, stage})) << name(stage);
  for (const Stage stage :
       {Stage::gate, Stage::act, Stage::down, Stage::shared_gate, Stage::shared_out, Stage::ffn_out})
    EXPECT_FALSE(has_stage(config, {1, stage})) << name(stage);
  EXPECT_EQ(operands_at(config, {1, Stage::x_out}),
            (std::vector<At>{{1, Stage::x_attn}, {1, Stage::experts_out}}));
  EXPECT_EQ(row_width({1, Stage::router}, config, 0), 3);
  EXPECT_EQ(row_width({1, Stage::expert_gate}, config, 0), 24);
  EXPECT_EQ(row_width({1, Stage::expert_down}, config, 0), 16);
  EXPECT_EQ(row_heads(Stage::expert_down, config), 2);
  // add_f32() counts on through the tensor: the second expert's first value.
  const Tensor second = expert_of(*opened.model.layers[0].of(Stage::expert_gate), 1);
  EXPECT_EQ(second.dims, (std::array<uint64_t, 4>{8, 12, 1, 1}));
  float first = 0;
  std::memcpy(&first, second.data.data(), sizeof first);
  EXPECT_EQ(first, 96.0f);
}

TEST(ModelWithExperts, ADenseModelHasNone) {
  const Opened opened(tiny_llama());
  for (const Stage stage :
       {Stage::router, Stage::experts, Stage::experts_out, Stage::shared_out, Stage::ffn_out})
    EXPECT_FALSE(has_stage(opened.model.config, {1, stage})) << name(stage);
  EXPECT_EQ(operands_at(opened.model.config, {1, Stage::x_out}),
            (std::vector<At>{{1, Stage::x_attn}, {1, Stage::down}}));
}

TEST(ModelWithExperts, TheFileMaySayThatWeightsAreNotDivided) {
  GgufBuilder file = tiny_mixtral();
  file.set<bool>("llama.expert_weights_norm", false);
  EXPECT_FALSE(Opened(file).model.config.experts_sum_to_1);
}

TEST(ModelWithExperts, IsRefusedInOneLineWhereItContradictsItself) {
  struct Case {
    std::function<void(GgufBuilder&)> change;
    const char* message;
  };
  const Case cases[] = {
      {[](GgufBuilder& f) { f.erase("llama.expert_used_count"); },
       "the metadata key llama.expert_used_count is missing"},
      {[](GgufBuilder& f) { f.set<uint32_t>("llama.expert_used_count", 4); },
       "llama.expert_used_count is 4, more than the 3 of llama.expert_count"},
      {[](GgufBuilder& f) { f.set<uint32_t>("llama.expert_used_count", 0); }, "llama.expert_used_count is 0"},
      {[](GgufBuilder& f) { f.set<uint32_t>("llama.expert_count", 5); }, "the hyperparameters demand [8, 5]"},
      {[](GgufBuilder& f) { f.set<uint32_t>("llama.expert_count", 0); },
       "the tensor blk.0.ffn_gate_inp.weight; not supported"},
      {[](GgufBuilder& f) { f.set<uint32_t>("llama.expert_feed_forward_length", 6); },
       "ffn_gate_exps.weight has the shape [8, 12, 3]; the hyperparameters demand [8, 6, 3]"},
      {[](GgufBuilder& f) { f.erase_tensor("blk.1.ffn_up_exps.weight"); },
       "the tensor blk.1.ffn_up_exps.weight is missing"},
      {[](GgufBuilder& f) {
         f.add_f32("blk.1.ffn_up.weight", {8, 12});
       },
       "the tensor blk.1.ffn_up.weight has no place"},
      {[](GgufBuilder& f) { f.set<float>("llama.expert_weights_scale", 2.5f); },
       "a scale of the experts' weights"},
      {[](GgufBuilder& f) { f.set_string("llama.expert_count", "3"); }, "llama.expert_count is a string"},
  };
  for (const Case& c : cases) {
    GgufBuilder file = tiny_mixtral();
    c.change(file);
    std::string said;
    try {
      Opened opened(file);
    } catch (const Error& error) {
      said = error.what();
    }
    EXPECT_THAT(said, HasSubstr(c.message));
  }
}

}  // namespace
}  // namespace greta::test
