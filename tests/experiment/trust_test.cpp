// What engine and judge take on trust: a model foresees text better by what it was made with.

#include "experiment/trust.h"

#include <gmock/gmock.h>

#include "model/model_files.h"
#include "model/prompt.h"

namespace greta {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::Field;
using testing::Property;

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

auto is_other(const char* what, const char* instead) {
  return AllOf(Field(&TrustedValue::what, Field(&Text::en, what)), Field(&TrustedValue::instead, instead));
}

TEST(Trust, ConfirmsWhatSmolLM2WasMadeWith) {
  GRETA_SKIP_WITHOUT("smollm2");
  const Trust trust = weighed(open_model(test::model_path("smollm2")));
  EXPECT_GT(trust.tokens, 16);
  EXPECT_LT(trust.loss, 4);  // ln of its vocabulary is 10.8
  EXPECT_THAT(trust.others, Each(Property(&TrustedValue::is_doubted, false)));
  for (const auto& other : {is_other("RoPE's pairs", "halves"), is_other("the scale of scores", "1"),
                            is_other("the scale of the embedding", "24")})
    EXPECT_THAT(trust.others, Contains(AllOf(other, Property(&TrustedValue::is_confirmed, true))));
}

TEST(Trust, DoubtsWhatSmolLM2WasNotMadeWith) {
  GRETA_SKIP_WITHOUT("smollm2");
  Model pairs = open_model(test::model_path("smollm2"));
  pairs.config.rope_adjacent = false;
  EXPECT_THAT(weighed(std::move(pairs)).others, Contains(AllOf(is_other("RoPE's pairs", "neighbours"),
                                                               Property(&TrustedValue::is_doubted, true))));
  Model scale = open_model(test::model_path("smollm2"));
  scale.config.embedding_scale = 24;
  EXPECT_THAT(weighed(std::move(scale)).others, Contains(AllOf(is_other("the scale of the embedding", "1"),
                                                               Property(&TrustedValue::is_doubted, true))));
}

TEST(Trust, FewTokensTellNothingSmolLM2) {
  GRETA_SKIP_WITHOUT("smollm2");
  Engine engine(open_model(test::model_path("smollm2")), {.threads = 1, .isa = best_isa()});
  const MatrixRequest request;
  const std::vector<TokenId> tokens(kFewestScored - 1, 1);
  EXPECT_EQ(weigh_trust(Program(engine, request), tokens, [](const std::string&) {}).tokens, 0);
}

TEST(TrustedValue, NoiseNeitherConfirmsNorDoubts) {
  const auto value = [](double more, double error) { return TrustedValue{{}, "a", "b", more, error}; };
  EXPECT_FALSE(value(0.3, 0.1).is_confirmed());
  EXPECT_TRUE(value(0.5, 0.1).is_confirmed());
  EXPECT_FALSE(value(0.01, 0.0001).is_confirmed());
  EXPECT_FALSE(value(-0.3, 0.1).is_doubted());
  EXPECT_FALSE(value(-0.05, 0.001).is_doubted());
  EXPECT_TRUE(value(-0.5, 0.1).is_doubted());
}

}  // namespace
}  // namespace greta
