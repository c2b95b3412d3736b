// Two readings of a file agree on every architecture that there is, and tell each thing that one of them has
// otherwise.

#include "judge/second_reading.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <functional>

#include "model/gguf.h"
#include "model/model_files.h"
#include "model/tiny_file.h"

namespace greta {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class Architectures : public testing::TestWithParam<const char*> {};

TEST_P(Architectures, AreReadAlike) {
  EXPECT_THAT(readings_that_differ(test::TinyFile(GetParam()).model), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(All, Architectures,
                         testing::Values("gemma2", "gemma3", "gpt-oss", "yarn", "linear", "partial",
                                         "granite", "llama", "mistral", "mixtral", "olmo2", "phi3", "qwen2",
                                         "qwen2moe", "qwen3moe", "qwen3", "smollm3"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::erase(name, '-');
                           return name;
                         });

struct Misreading {
  const char* architecture;
  const char* says;
  std::function<void(Model&)> make;
};

std::vector<Misreading> misreadings() {
  const auto exchange = [](Stage a, Stage b) {
    return [=](Model& model) { std::swap(model.layers[1].of(a), model.layers[1].of(b)); };
  };
  return {
      {"llama", "norm_rms_epsilon", [](Model& m) { m.config.norm_eps = 1e-6; }},
      {"llama", "RoPE's base of layer 1", [](Model& m) { m.config.layers[1].rope_base = 10001; }},
      {"llama", "scale of positions of layer 0", [](Model& m) { m.config.layers[0].rope_scale = 0.5; }},
      {"llama", "RoPE turns halves", [](Model& m) { m.config.rope_adjacent = false; }},
      {"llama", "rope.dimension_count", [](Model& m) { m.config.rope_dims /= 2; }},
      {"llama", "scale of attention", [](Model& m) { m.config.attention_scale *= 1.001; }},
      {"llama", "activation", [](Model& m) { m.config.activation = Activation::gelu; }},
      {"llama", "head_count_kv", [](Model& m) { m.config.n_head_kv = m.config.n_head + 1; }},
      {"llama", "scale of the embedding", [](Model& m) { m.config.embedding_scale = 2; }},
      {"llama", "weight of gate of layer 1", exchange(Stage::gate, Stage::up)},
      {"llama", "weight of attn_norm of layer 1", exchange(Stage::attn_norm, Stage::ffn_norm)},
      {"llama", "weight of q of layer 0", [](Model& m) { std::swap(m.layers[0], m.layers[1]); }},
      {"llama", "the last norm's weight", [](Model& m) { m.output_norm = m.layers[0].of(Stage::ffn_norm); }},
      {"phi3", "weight of up of layer 1", exchange(Stage::gate, Stage::up)},
      {"phi3", "weight of v of layer 1", exchange(Stage::k, Stage::v)},
      {"mistral", "the window of layer 0", [](Model& m) { m.config.layers[0].window += 1; }},
      {"gemma3", "the window of layer 0", [](Model& m) { m.config.layers[0].window = 0; }},
      {"gemma3", "scale of the embedding", [](Model& m) { m.config.embedding_scale = 1; }},
      {"gemma3", "RoPE's base of layer 0", [](Model& m) { m.config.layers[0].rope_base = 1e6; }},
      {"gemma3", "weight of ffn_post_norm of layer 1", exchange(Stage::attn_post_norm, Stage::ffn_post_norm)},
      {"gemma2", "soft cap of scores", [](Model& m) { m.config.score_cap = 50; }},
      {"gemma2", "soft cap of the logits", [](Model& m) { m.config.logit_cap = 0; }},
      {"gemma2", "the window of layer 1", [](Model& m) { m.config.layers[1].window = 8; }},
      {"gpt-oss", "YaRN's factor of layer 0", [](Model& m) { m.config.layers[0].yarn.factor = 1; }},
      {"gpt-oss", "YaRN's borders are whole", [](Model& m) { m.config.layers[1].yarn.whole_borders = true; }},
      {"gpt-oss", "the length that RoPE gives of layer 2",
       [](Model& m) { m.config.layers[2].rope_magnitude = 1; }},
      {"gpt-oss", "the activation is clamped", [](Model& m) { m.config.activation = Activation::silu; }},
      {"gpt-oss", "weight of softmax of layer 1",
       [](Model& m) { m.layers[1].of(Stage::softmax) = m.layers[0].of(Stage::softmax); }},
      {"yarn", "YaRN's original context", [](Model& m) { m.config.layers[0].yarn.original = 4096; }},
      {"smollm3", "q_rope of layer 3", [](Model& m) { m.config.layers[3].lacks.reset(); }},
      {"granite", "scale of the residuals", [](Model& m) { m.config.residual_scale = 1; }},
      {"granite", "divisor of the logits", [](Model& m) { m.config.logit_divisor = 1; }},
  };
}

TEST(SecondReading, TellsWhatTheFirstHasOtherwise) {
  for (const Misreading& misreading : misreadings()) {
    test::TinyFile file(misreading.architecture);
    misreading.make(file.model);
    EXPECT_THAT(readings_that_differ(file.model), Contains(HasSubstr(misreading.says)))
        << misreading.architecture;
  }
}

/// As their config.json says: hidden_size, heads, rms_norm_eps, rope_theta, rope_local_base_freq,
/// sliding_window, query_pre_attn_scalar.
TEST(SecondReading, RealModelsAreAsTheyWerePublishedSmolLM2AndGemma) {
  GRETA_SKIP_WITHOUT("smollm2");
  const Model smollm = open_model(test::model_path("smollm2"));
  EXPECT_THAT(readings_that_differ(smollm), IsEmpty());
  EXPECT_FLOAT_EQ(static_cast<float>(smollm.config.norm_eps), 1e-5f);
  EXPECT_EQ(smollm.config.layer(29).rope_base, 100000);
  EXPECT_EQ(smollm.config.attention_scale, 0.125);
  GRETA_SKIP_WITHOUT("gemma3");
  const Model gemma = open_model(test::model_path("gemma3"));
  EXPECT_THAT(readings_that_differ(gemma), IsEmpty());
  EXPECT_FLOAT_EQ(static_cast<float>(gemma.config.norm_eps), 1e-6f);
  EXPECT_EQ(gemma.config.layer(5).rope_base, 1e6);
  EXPECT_EQ(gemma.config.layer(4).rope_base, 1e4);
  EXPECT_EQ(gemma.config.layer(4).window, 512);
  EXPECT_EQ(gemma.config.layer(5).window, 0);
  EXPECT_EQ(gemma.config.attention_scale, 1 / std::sqrt(256.0));
}

}  // namespace
}  // namespace greta
