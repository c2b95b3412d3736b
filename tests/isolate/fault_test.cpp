#include "isolate/fault.h"

#include <gmock/gmock.h>

#include "base/error.h"
#include "isolate/experiment.h"

namespace greta::isolate {
namespace {

using testing::HasSubstr;
using testing::Property;
using testing::Throws;

auto message(const char* part) { return Throws<Error>(Property(&Error::what, HasSubstr(part))); }

TEST(ParseFault, ReadsEveryPart) {
  const FaultSpec spec = parse_fault("wq_column_major@prefill:3,S>1", 30);
  EXPECT_EQ(spec.fault->name, "wq_column_major");
  EXPECT_EQ(spec.phase, Phase::prefill);
  EXPECT_EQ(spec.layer, 3);
  EXPECT_EQ(spec.condition.rows_above, 1);
  const FaultSpec plain = parse_fault("wo_column_major", 30);
  EXPECT_EQ(plain.phase, std::nullopt);
  EXPECT_EQ(plain.layer, std::nullopt);
}

TEST(ParseFault, SaysWhatIsWrong) {
  EXPECT_THAT([] { parse_fault("nothing", 2); },
              message("unknown fault \"nothing\"; known: wq_column_major"));
  EXPECT_THAT([] { parse_fault("wq_column_major@later", 2); }, message("unknown phase"));
  EXPECT_THAT([] { parse_fault("wq_column_major:2", 2); }, message("layer 2 of a model of 2 layers"));
  EXPECT_THAT([] { parse_fault("wq_column_major:x", 2); }, message("is no number"));
  EXPECT_THAT([] { parse_fault("wq_column_major,T>1", 2); }, message("unknown condition"));
  EXPECT_THAT([] { parse_fault("wq_column_major,S>", 2); }, message("is no number"));
}

TEST(FaultCondition, HoldsByTheBlock) {
  KernelArgs args;
  args.block_rows = 1;
  EXPECT_FALSE((FaultCondition{.rows_above = 1, .rows_equal = {}}.holds(args)));
  EXPECT_TRUE((FaultCondition{.rows_above = {}, .rows_equal = 1}.holds(args)));
  args.block_rows = 2;
  EXPECT_TRUE((FaultCondition{.rows_above = 1, .rows_equal = {}}.holds(args)));
}

TEST(Experiments, AreThoseOfB331) {
  std::string table;
  for (const Experiment& e : experiments()) {
    table += e.name + " " + e.route_name() + (e.force_gemm ? " gemm\n" : "\n");
  }
  EXPECT_EQ(table, "E0 auto\nE1 vector\nE2 matrix\nE3 matrix gemm\nE4 vector gemm\n");
  EXPECT_THAT([] { parse_experiments("E0,E9"); }, message("unknown experiment \"E9\""));
}

TEST(Experiments, ForceDecodeOnly) {
  const RouteTable routes = experiments()[3].routes({});
  EXPECT_EQ(routes.choice(Stage::q, Phase::decode).shape, Shape::gemm);
  EXPECT_EQ(routes.choice(Stage::q, Phase::prefill).route, std::nullopt);
  EXPECT_EQ(routes.choice(Stage::attn_out, Phase::decode).route, std::nullopt);
}

}  // namespace
}  // namespace greta::isolate
