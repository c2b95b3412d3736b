// One-hot probes of a small random model. Tolerance of a match: 1e-5 of a column's largest weight, as in
// weight_probe.cpp; random weights read in the wrong layout are off by about 1.

#include "experiment/weight_probe.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "engine/tiny_model.h"
#include "fault/fault.h"

namespace greta {
namespace {

using testing::HasSubstr;
using testing::SizeIs;

std::vector<WeightProbe> probe(TensorType type, const std::vector<std::string>& faults = {},
                               const std::string& route = "") {
  test::TinyEngine tiny(type);
  WeightProbeRequest request;
  request.layers = {0, 1};
  request.change = fault_change(tiny.engine, parse_faults(faults, 2));
  if (!route.empty()) request.routes.add(parse_route_rule(route));
  return probe_weights(tiny.engine, request);
}

const WeightProbe& find(const std::vector<WeightProbe>& probes, Phase phase, Stage stage, int layer) {
  for (const WeightProbe& p : probes) {
    if (p.phase == phase && p.stage == stage && p.layer == layer) return p;
  }
  throw std::runtime_error("no such probe");
}

TEST(WeightProbe, CleanEngineReadsRowsOnEveryRoute) {
  for (const TensorType type : {TensorType::q4_1, TensorType::q8_0, TensorType::f16, TensorType::bf16}) {
    for (const char* route : {"all=matrix", "all=vector"}) {
      const std::vector<WeightProbe> probes = probe(type, {}, route);
      EXPECT_THAT(probes, SizeIs(2 * 7 * 2));
      for (const WeightProbe& p : probes) {
        EXPECT_EQ(p.layout, "row") << name(type) << " " << route << " " << name(p.stage) << " "
                                   << p.error_row;
        EXPECT_GT(p.error_column, 0.1);
        EXPECT_THAT(p.kernel, HasSubstr(p.phase == Phase::prefill ? ".gemm." : ".gemv."));
        EXPECT_EQ(p.columns.front(), 0);
        EXPECT_EQ(p.columns.back(), p.stage == Stage::down ? 95 : 63);
        EXPECT_GE(p.columns.size(), 6u);
      }
    }
  }
}

TEST(WeightProbe, FindsTheSeedBugInItsPhase) {
  // Wq is square (column-major is the transpose), Wk is [32, 64] (it is a jumble).
  const std::vector<WeightProbe> probes = probe(
      TensorType::q4_1, {"wq_column_major@prefill", "wk_column_major@prefill,S>1", "wo_column_major:1"});
  for (const Stage stage : {Stage::q, Stage::k}) {
    const WeightProbe& prefill = find(probes, Phase::prefill, stage, 0);
    EXPECT_EQ(prefill.layout, "column");
    EXPECT_LE(prefill.error_column, 1e-5);
    EXPECT_GT(prefill.error_row, 0.1);
    EXPECT_EQ(find(probes, Phase::decode, stage, 0).layout, "row");
  }
  EXPECT_EQ(find(probes, Phase::prefill, Stage::v, 0).layout, "row");
  EXPECT_EQ(find(probes, Phase::decode, Stage::attn_out, 0).layout, "row");
  EXPECT_EQ(find(probes, Phase::decode, Stage::attn_out, 1).layout, "column");
}

TEST(WeightProbe, AnswersForTheRouteThatIsForced) {
  const std::vector<WeightProbe> probes = probe(TensorType::q4_1, {}, "decode:q,k,v=vector/gemm");
  EXPECT_THAT(find(probes, Phase::decode, Stage::q, 0).kernel, HasSubstr(".gemm."));
  EXPECT_NE(find(probes, Phase::decode, Stage::q, 0).kernel,
            find(probes, Phase::prefill, Stage::q, 0).kernel);
  EXPECT_THAT(find(probes, Phase::decode, Stage::up, 0).kernel, HasSubstr(".gemv."));
}

TEST(WeightProbe, TheOthersAreNotTouched) {
  const std::vector<WeightProbe> probes = probe(TensorType::q4_1, {"wv_column_major@decode"});
  const auto count = [&](const std::string& layout) {
    return std::count_if(probes.begin(), probes.end(),
                         [&](const WeightProbe& p) { return p.layout == layout; });
  };
  EXPECT_EQ(count("row"), 26);
  EXPECT_EQ(count("column"), 2);
  EXPECT_EQ(count("neither"), 0);
  EXPECT_EQ(probes.front().stage, Stage::q);
  EXPECT_EQ(probes.front().layout, "row");
}

}  // namespace
}  // namespace greta
