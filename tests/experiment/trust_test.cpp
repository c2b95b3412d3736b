// What engine and judge take on trust: a model foresees text better by what it was made with.

#include "experiment/trust.h"

#include <gtest/gtest.h>

#include "model/model_files.h"
#include "model/prompt.h"

namespace greta {
namespace {

constexpr const char* kText =
    "The capital of France is Paris. The capital of Italy is Rome, and the capital of Spain is Madrid. Water "
    "boils "
    "at one hundred degrees and freezes at zero degrees. A week has seven days: Monday, Tuesday, Wednesday, "
    "Thursday, Friday, Saturday and Sunday. The Earth goes around the Sun once a year, and the Moon goes "
    "around the "
    "Earth once a month. To be, or not to be, that is the question. Two and two is four; four and four is "
    "eight.";

Trust weighed(Model model) {
  const std::vector<TokenId> tokens = Tokenizer::from(model.file).encode(kText, false);
  Engine engine(std::move(model), {.threads = 2, .isa = best_isa()});
  const MatrixRequest request;
  return weigh_trust(Program(engine, request), tokens, [](const std::string&) {});
}

const TrustedValue& find(const Trust& trust, std::string_view what, std::string_view instead) {
  for (const TrustedValue& value : trust.others) {
    if (value.what.en == what && value.instead == instead) return value;
  }
  throw std::runtime_error("not weighed: " + std::string(what));
}

TEST(Trust, ConfirmsWhatSmolLM2WasMadeWith) {
  GRETA_SKIP_WITHOUT("smollm2");
  const Trust trust = weighed(open_model(test::model_path("smollm2")));
  EXPECT_GT(trust.tokens, 16);
  EXPECT_LT(trust.loss, 4);  // ln of its vocabulary is 10.8
  for (const TrustedValue& value : trust.others) EXPECT_FALSE(trust.doubts(value)) << value.what.en;
  for (const auto& other : {std::pair{"RoPE's pairs", "halves"},
                            {"the scale of scores", "1"},
                            {"the scale of the embedding", "24"}})
    EXPECT_TRUE(trust.confirms(find(trust, other.first, other.second)));
}

TEST(Trust, DoubtsWhatSmolLM2WasNotMadeWith) {
  GRETA_SKIP_WITHOUT("smollm2");
  Model pairs = open_model(test::model_path("smollm2"));
  pairs.config.rope_adjacent = false;
  const Trust of_pairs = weighed(std::move(pairs));
  EXPECT_TRUE(of_pairs.doubts(find(of_pairs, "RoPE's pairs", "neighbours")));
  Model scale = open_model(test::model_path("smollm2"));
  scale.config.embedding_scale = 24;
  const Trust of_scale = weighed(std::move(scale));
  EXPECT_TRUE(of_scale.doubts(find(of_scale, "the scale of the embedding", "1")));
}

TEST(Trust, FewTokensTellNothingSmolLM2) {
  GRETA_SKIP_WITHOUT("smollm2");
  Engine engine(open_model(test::model_path("smollm2")), {.threads = 1, .isa = best_isa()});
  const MatrixRequest request;
  const std::vector<TokenId> tokens(kFewestScored - 1, 1);
  EXPECT_EQ(weigh_trust(Program(engine, request), tokens, [](const std::string&) {}).tokens, 0);
}

TEST(Trust, NoiseNeitherConfirmsNorDoubts) {
  const Trust trust{.tokens = 100, .loss = 4, .chance = 10, .others = {}};
  const auto value = [](double more, double error) { return TrustedValue{{}, "a", "b", more, error}; };
  EXPECT_FALSE(trust.confirms(value(0.3, 0.2)));
  EXPECT_TRUE(trust.confirms(value(0.5, 0.1)));
  EXPECT_FALSE(trust.confirms(value(0.01, 0.0001)));
  EXPECT_FALSE(trust.doubts(value(-0.3, 0.1)));
  EXPECT_FALSE(trust.doubts(value(-0.05, 0.001)));
  EXPECT_TRUE(trust.doubts(value(-0.5, 0.1)));
}

/// Random weights: another value may be less wrong by much, and still foresee nothing.
TEST(Trust, AModelThatForeseesNothingTellsNothing) {
  const Trust trust{.tokens = 100, .loss = 150, .chance = 10, .others = {}};
  EXPECT_FALSE(trust.confirms({{}, "a", "b", 20, 0.1}));
  EXPECT_FALSE(trust.doubts({{}, "a", "b", -20, 0.1}));
  EXPECT_TRUE(trust.doubts({{}, "a", "b", -146, 0.1}));
}

}  // namespace
}  // namespace greta
