// `greta bound` on the tiny model: what is drawn, and what the numbers must obey.

#include "experiment/bound.h"

#include <gtest/gtest.h>

#include <cmath>
#include <span>

#include "base/error.h"
#include "engine/tiny_model.h"
#include "model/gguf.h"

namespace greta {
namespace {

BoundRequest bound_request(const std::string& precision, Stage stage = Stage::logits) {
  BoundRequest request{
      .prompts = {{"p", "", test::random_tokens(20)}}, .stage = stage, .layers = {0, 1}, .draws = 8};
  for (const Precision& row : precisions()) {
    if (row.name == precision) request.precision = row;
  }
  return request;
}

test::TinyEngine bound_engine(int threads = 1) {
  return test::TinyEngine(TensorType::q4_1, {.threads = threads, .isa = best_isa()});
}

TEST(RoundingBound, CoarserFormatsAllowMore) {
  test::TinyEngine tiny = bound_engine();
  double before = 0;
  // Steps of 2^-24, 2^-11 and 2^-8: at least four times from one to the next, whatever the draw.
  for (const char* precision : {"f32", "f16", "bf16"}) {
    const BoundSummary summary =
        summary_of(measure_bound(tiny.engine, bound_request(precision)).places.front());
    EXPECT_GT(summary.median.bound, 4 * before) << precision;
    EXPECT_LE(summary.median.bound, summary.worst.bound);
    EXPECT_EQ(summary.last.position, 19);
    // Of one element: lambda sqrt 3 times its own typical; the worst element's is above the row's.
    EXPECT_GE(summary.median.bound, 9.2 * std::sqrt(3.0) * 0.999 * summary.median.typical);
    before = summary.median.bound;
  }
}

TEST(RoundingBound, TheSameForOneSeedWhateverTheThreads) {
  test::TinyEngine one = bound_engine(1), two = bound_engine(2);
  BoundRequest request = bound_request("int8");
  const auto bound = [&](Engine& engine) {
    return summary_of(measure_bound(engine, request).places.front());
  };
  const BoundSummary first = bound(one.engine), second = bound(two.engine);
  EXPECT_EQ(first.worst.bound, second.worst.bound);
  EXPECT_EQ(first.typical, second.typical);
  request.seed = 2;
  EXPECT_NE(bound(one.engine).typical, first.typical);
}

TEST(RoundingBound, AStageHasARowPerLayerAndItsOwnPart) {
  test::TinyEngine tiny = bound_engine();
  const RoundingBound result = measure_bound(tiny.engine, bound_request("bf16", Stage::q));
  ASSERT_EQ(result.places.size(), 2u);
  for (const PlaceBound& place : result.places) {
    ASSERT_TRUE(place.own.has_value());
    EXPECT_GT(*place.own, 0);
    EXPECT_LT(*place.own, summary_of(place).worst.bound);
  }
}

TEST(RoundingBound, LogProbabilitiesHaveTheTopTokenAndTheDivergence) {
  test::TinyEngine tiny = bound_engine();
  BoundRequest request = bound_request("bf16");
  request.logprobs = true;
  const RoundingBound result = measure_bound(tiny.engine, request);
  ASSERT_TRUE(result.top1 && result.kl);
  EXPECT_FALSE(result.places.front().own);
  EXPECT_LE(summary_of(*result.top1).worst.bound, summary_of(result.places.front()).worst.bound);
  EXPECT_GT(summary_of(*result.kl).typical, 0);
}

/// No threshold, least of all 0, comes of a model that computes NaN; of masked scores one does.
TEST(RoundingBound, OfWhatIsNotFiniteIsAnError) {
  test::Bytes bytes = test::random_llama(TensorType::q4_1);
  bytes.replace(bytes.size() - 20, 2, test::raw(f32_to_f16(NAN)));  // a scale of the last layer's ffn_down
  Engine engine(bind_model(parse_gguf(std::as_bytes(std::span(bytes)), "nan.gguf")), {.isa = best_isa()});
  BoundRequest request = bound_request("bf16");
  EXPECT_THROW(measure_bound(engine, request), Error);
  request.logprobs = true;
  EXPECT_THROW(measure_bound(engine, request), Error);
  EXPECT_NO_THROW(measure_bound(engine, bound_request("bf16", Stage::qk)));
}

}  // namespace
}  // namespace greta
