#include "engine/route.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "engine/tiny_model.h"

namespace greta {
namespace {

using testing::HasSubstr;
using testing::Property;
using testing::Throws;

TEST(RouteTable, LastMatchingRuleWins) {
  RouteTable table;
  table.add(parse_route_rule("all=vector"));
  table.add(parse_route_rule("decode:q,k=mfma/gemm"));
  EXPECT_EQ(table.choice(Stage::q, Phase::prefill).route, Route::vector);
  EXPECT_EQ(table.choice(Stage::q, Phase::decode).route, Route::matrix);
  EXPECT_EQ(table.choice(Stage::q, Phase::decode).shape, Shape::gemm);
  EXPECT_EQ(table.choice(Stage::v, Phase::decode).route, Route::vector);
  EXPECT_EQ(table.choice(Stage::v, Phase::decode).shape, std::nullopt);
}

TEST(RouteTable, AutoLeavesTheChoiceOpen) {
  RouteTable table;
  table.add(parse_route_rule("all=valu"));
  table.add(parse_route_rule("logits=auto"));
  EXPECT_EQ(table.choice(Stage::logits, Phase::decode).route, std::nullopt);
  EXPECT_EQ(table.choice(Stage::down, Phase::decode).route, Route::vector);
}

TEST(RouteTable, BadRulesSayWhatIsAllowed) {
  const auto message = [](const char* part) {
    return Throws<Error>(Property(&Error::what, HasSubstr(part)));
  };
  EXPECT_THAT([] { parse_route_rule("q"); }, message("expected STAGES=ROUTE"));
  EXPECT_THAT([] { parse_route_rule("softmax=vector"); }, message("is no projection"));
  EXPECT_THAT([] { parse_route_rule("q=tensor"); }, message("unknown route \"tensor\""));
  EXPECT_THAT([] { parse_route_rule("q=vector/gem"); }, message("unknown shape \"gem\""));
  EXPECT_THAT([] { parse_route_rule("=vector"); }, message("no stage"));
}

TEST(ForcedRoute, ThatCannotRunIsAnErrorWithTheReason) {
  test::TinyEngine tiny(TensorType::f32);
  RouteTable matrix;
  matrix.add(parse_route_rule("q=matrix"));
  EXPECT_THAT([&] { tiny.engine.plan(Phase::prefill, 8, matrix); },
              Throws<Error>(Property(&Error::what, HasSubstr("matrix route"))));
  RouteTable gemv;
  gemv.add(parse_route_rule("q=vector/gemv"));
  EXPECT_THAT([&] { tiny.engine.plan(Phase::prefill, 8, gemv); },
              Throws<Error>(Property(&Error::what, HasSubstr("GEMV takes one row"))));
  EXPECT_NO_THROW(tiny.engine.plan(Phase::decode, 1, gemv));
}

TEST(ForcedRoute, ChoosesTheKernel) {
  test::TinyEngine tiny(TensorType::q4_1);
  RouteTable routes;
  routes.add(parse_route_rule("decode:q=vector/gemm"));
  const Plan plan = tiny.engine.plan(Phase::decode, 1, routes);
  const auto kernel = [&](Stage stage) { return kernel_call(*plan.find({0, stage}))->kernel; };
  EXPECT_EQ(kernel(Stage::q)->route, Route::vector);
  EXPECT_EQ(kernel(Stage::q)->shape, Shape::gemm);
  EXPECT_EQ(kernel(Stage::k)->route, Route::matrix) << "auto takes the matrix route where it exists";
  EXPECT_EQ(kernel(Stage::k)->shape, Shape::gemv);
}

}  // namespace
}  // namespace greta
