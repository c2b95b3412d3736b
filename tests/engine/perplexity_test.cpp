#include "engine/perplexity.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/error.h"
#include "engine/tiny_model.h"

namespace greta {
namespace {

constexpr auto kQuiet = [](int64_t, int64_t) {};

/// -ln p(next) from logits, by the definition.
double loss(std::span<const float> logits, int32_t next) {
  double sum = 0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x));
  return std::log(sum) - static_cast<double>(logits[static_cast<size_t>(next)]);
}

// 2.5 chunks of 150, whose second halves are longer than one block of rows: the rest is not used.
TEST(Perplexity, IsThatOfTheSecondHalvesTokenByToken) {
  test::TinyEngine tiny(TensorType::f32, {2, best_isa(), Format::f32});
  constexpr int64_t kChunk = 150;
  const std::vector<int32_t> tokens = test::random_tokens(2 * kChunk + 75);
  const Plan step = tiny.engine.plan(Phase::decode, 1);
  double sum = 0;
  for (int64_t c = 0; c < 2; ++c) {
    Session session(tiny.engine, kChunk);
    for (int64_t i = 0; i + 1 < kChunk; ++i) {
      const int32_t token = i == 0 ? 3 : tokens[static_cast<size_t>(c * kChunk + i)];
      const auto logits = session.forward(step, std::span(&token, 1));
      if (i >= kChunk / 2) sum += loss(logits, tokens[static_cast<size_t>(c * kChunk + i + 1)]);
    }
  }
  const Perplexity result = measure_perplexity(tiny.engine, {}, tokens, kChunk, 3, kQuiet);
  EXPECT_EQ(result.tokens, 2 * (kChunk / 2 - 1));
  // Both add the same f64 numbers, up to the rounding of exp and log: some 1e-15 of each.
  EXPECT_NEAR(result.mean, sum / static_cast<double>(result.tokens), 1e-12);
  EXPECT_DOUBLE_EQ(result.value(), std::exp(result.mean));
  EXPECT_GT(result.error, 0);
}

TEST(Perplexity, RefusesATextShorterThanAChunk) {
  test::TinyEngine tiny(TensorType::f32);
  EXPECT_THAT([&] { measure_perplexity(tiny.engine, {}, test::random_tokens(9), 10, -1, kQuiet); },
              testing::Throws<Error>(testing::Property(
                  &Error::what, testing::HasSubstr("9 tokens, less than one chunk of 10"))));
}

}  // namespace
}  // namespace greta
