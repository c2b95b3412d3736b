#include "report/weights.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace greta::report {
namespace {

std::vector<WeightProbe> sample_weights() {
  return {{Phase::prefill, 0, Stage::q, "row", 1e-7, 1.5, "gemm", {0, 63}},
          {Phase::decode, 0, Stage::q, "column", INFINITY, 2e-7, "gemv", {0, 63}},
          {Phase::prefill, 1, Stage::q, "row", 2e-7, 1.25, "gemm", {0, 63}}};
}

TEST(WeightsReport, HasARowForEachLayout) {
  EXPECT_EQ(to_terminal(weights_report(sample_weights()), 80, false),
            "\nWeights as the kernels read them: one-hot probes on E0's routes\n"
            "weight    phase    layers           layout    error as row  error as column\n"
            "q         prefill  0-1              row            2.0e-07          1.5e+00\n"
            "q         decode   0                column             inf          2.0e-07\n");
}

TEST(WeightsReport, JsonCounts) {
  const nlohmann::json json = weights_json(sample_weights());
  EXPECT_EQ(json["schema"], "greta.qkv_w_verify/1");
  EXPECT_EQ(json["probes"].size(), 3u);
  EXPECT_EQ(json["row"], 2);
  EXPECT_EQ(json["column"], 1);
  EXPECT_EQ(json["neither"], 0);
  EXPECT_EQ(json["probes"][0]["stage"], "q");
  EXPECT_EQ(json["probes"][0]["layout"], "row");
  EXPECT_EQ(json["probes"][1]["error_row"], "inf");
}

}  // namespace
}  // namespace greta::report
