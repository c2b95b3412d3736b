#include "record/experiment.h"

#include <gmock/gmock.h>

#include "base/error.h"

namespace greta {
namespace {

using testing::HasSubstr;
using testing::Property;
using testing::Throws;

auto message(const char* part) { return Throws<Error>(Property(&Error::what, HasSubstr(part))); }

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
}  // namespace greta
