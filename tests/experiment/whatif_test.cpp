// greta whatif on the tiny model: which way units err, and what is compared with what.

#include "experiment/whatif.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>

#include "engine/tiny_model.h"
#include "fault/fault.h"
#include "judge/stage_oracle.h"
#include "model/gguf.h"
#include "record/matrix.h"

namespace greta {
namespace {

/// Beyond so many standard errors a mean is no chance: a normal one gets there once in 5e8 times.
constexpr double kSigmas = 6;

MatrixRequest request_of(int prompts, int64_t tokens) {
  MatrixRequest request;
  request.experiments = parse_experiments("E0");
  request.layers = {0, 1};
  const std::vector<int32_t> all = test::random_tokens(prompts * tokens);
  for (int i = 0; i < prompts; ++i) {
    const auto begin = all.begin() + i * tokens;
    request.prompts.push_back({"p" + std::to_string(i), "", {begin, begin + tokens}});
  }
  return request;
}

test::TinyEngine engine_of(const std::string& device) {
  return test::TinyEngine(TensorType::q4_1, {.threads = 1, .isa = best_isa(), .device = device});
}

/// A model whose norms give the last eight inputs of q, k, v, gate and up 64 times the weight of the others:
/// the last group of a sum outweighs the running one, whose low bits CDNA3 then floors away.
test::Bytes with_heavy_last_group() {
  test::Bytes bytes = test::random_llama(TensorType::q4_1);
  const Model model = bind_model(parse_gguf(std::as_bytes(std::span(bytes)), "random.gguf"));
  for (const LayerWeights& layer : model.layers) {
    for (const Tensor* norm : {layer.of(Stage::attn_norm), layer.of(Stage::ffn_norm)}) {
      const auto at = reinterpret_cast<const char*>(norm->data.data()) - bytes.data();
      std::vector<float> weights(64);
      std::memcpy(weights.data(), bytes.data() + at, 64 * sizeof(float));
      for (size_t i = 56; i < 64; ++i) weights[i] *= 64;
      std::memcpy(bytes.data() + at, weights.data(), 64 * sizeof(float));
    }
  }
  return bytes;
}

AccumulationBias matrix_bias(const test::Bytes& bytes, const std::string& device) {
  Engine engine(bind_model(parse_gguf(std::as_bytes(std::span(bytes)), "random.gguf")),
                {.threads = 1, .isa = best_isa(), .device = device});
  const Bundle bundle = record_matrix(engine, request_of(4, 32));
  const auto all = accumulation_bias(bundle, engine.model(), 1);
  EXPECT_EQ(all.front().phase, Phase::prefill);
  EXPECT_EQ(all.front().route, "matrix");
  return all.front();
}

double sigmas(const Mean& mean) { return mean.value / mean.standard_error; }

/// Every recorded projection replaced by the oracle's value, rounded to f32 by `round`.
Bundle rounded(test::TinyEngine& tiny, const std::function<double(double)>& round) {
  Bundle bundle = record_matrix(tiny.engine, request_of(4, 16));
  const Bundle recorded = bundle;
  for (Event& event : bundle.events) {
    const std::optional<Stage> named = stage_from_name(event.stage);  // what the cache held is no stage
    if (!named || !is_projection(*named)) continue;
    const Stage stage = *named;
    const PhaseRecord phase{&tiny.engine.model(), PhaseView(recorded, event.key(), event.phase), {}, nullptr};
    std::string why;
    const auto subject =
        subject_of(phase, {event.layer, stage}, recorded_positions(phase, {event.layer, stage}), &why);
    std::vector<float> values;
    for (const double value : expected_of(*subject->problem).value) {
      const double ulp = std::ldexp(1.0, std::ilogb(value) - 23);
      values.push_back(static_cast<float>(round(value / ulp) * ulp));
    }
    event.hash = "rounded " + std::to_string(&event - bundle.events.data());
    bundle.store(event.hash, std::move(values));
  }
  return bundle;
}

// The means of rounding modes are known: a floor takes half an ulp of the value. Values below their row's
// root mean square have smaller ulps than they are counted in, so that the mean is somewhat nearer to 0.
TEST(WhatIf, BiasTellsFloorTruncationAndNearestApart) {
  test::TinyEngine tiny = engine_of("cpu");
  const auto bias = [&](double (*round)(double)) {
    return accumulation_bias(rounded(tiny, round), tiny.engine.model(), 1).front();
  };
  const AccumulationBias floored = bias([](double x) { return std::floor(x); });
  EXPECT_LT(floored.up.value, -0.2);
  EXPECT_GE(floored.up.value, -0.5 - kSigmas * floored.up.standard_error);
  EXPECT_LT(sigmas(floored.up), -kSigmas);
  EXPECT_LT(std::abs(sigmas(floored.outward)), kSigmas);
  const AccumulationBias truncated = bias([](double x) { return std::trunc(x); });
  EXPECT_LT(truncated.outward.value, -0.2);
  EXPECT_LT(sigmas(truncated.outward), -kSigmas);
  EXPECT_LT(std::abs(sigmas(truncated.up)), kSigmas);
  const AccumulationBias nearest = bias([](double x) { return std::nearbyint(x); });
  EXPECT_LT(std::abs(sigmas(nearest.up)), kSigmas);
  EXPECT_LT(std::abs(sigmas(nearest.outward)), kSigmas);
  EXPECT_LT(nearest.up.standard_error, 0.01);  // else the lines above say nothing
}

/// The estimate of a unit's drift is good to half of it (docs/numerics.md, "Matrix units": the gain).
void expect_predicted(const Mean& mean) {
  ASSERT_TRUE(mean.expected.has_value());
  EXPECT_LE(std::abs(mean.value - *mean.expected),
            std::abs(*mean.expected) / 2 + kSigmas * mean.standard_error)
      << mean.value << " +- " << mean.standard_error << ", expected " << *mean.expected;
}

TEST(WhatIf, UnitsErrAsTheirRulesSay) {
  const test::Bytes bytes = with_heavy_last_group();
  const AccumulationBias cdna3 = matrix_bias(bytes, "sim:mi300x");
  EXPECT_LT(sigmas(cdna3.up), -kSigmas) << cdna3.up.value << " +- " << cdna3.up.standard_error;
  EXPECT_LT(std::abs(sigmas(cdna3.outward)), kSigmas) << cdna3.outward.value;
  expect_predicted(cdna3.up);
  expect_predicted(cdna3.outward);
  const AccumulationBias cdna1 = matrix_bias(bytes, "sim:mi100");  // to nearest
  EXPECT_LT(std::abs(sigmas(cdna1.up)), kSigmas) << cdna1.up.value;
  EXPECT_LT(std::abs(sigmas(cdna1.outward)), kSigmas) << cdna1.outward.value;
  EXPECT_FALSE(cdna1.up.expected.has_value());
  EXPECT_LT(cdna1.up.standard_error, -cdna3.up.value / kSigmas);  // a floor would have shown
  const AccumulationBias hopper = matrix_bias(bytes, "sim:h100");
  EXPECT_LT(sigmas(hopper.outward), -kSigmas) << hopper.outward.value;
  EXPECT_LT(std::abs(sigmas(hopper.up)), kSigmas) << hopper.up.value;
  expect_predicted(hopper.up);
  expect_predicted(hopper.outward);
}

TEST(WhatIf, AllPositionsEndWithTheRecordedOne) {
  test::TinyEngine tiny = engine_of("sim:h100");
  MatrixRequest request = request_of(2, 21);
  request.prefill_block = 8;  // the last block has 5 rows
  const UnitRun unit = run_unit(tiny.engine, request);
  const size_t vocab = 80, width = 64;
  ASSERT_EQ(unit.logits.size(), 2 * 21 * vocab);
  ASSERT_EQ(unit.x_out.at(1).size(), 2 * 21 * width);
  for (size_t prompt = 0; prompt < 2; ++prompt) {
    const PhaseView last(unit.bundle, {"E0", "p" + std::to_string(prompt)}, kPrefillLast);
    const auto end = unit.logits.begin() + static_cast<std::ptrdiff_t>((prompt + 1) * 21 * vocab);
    EXPECT_TRUE(std::equal(end - vocab, end, last.data({kNoLayer, Stage::logits})->begin()));
  }
}

TEST(WhatIf, AUnitAgainstItselfDoesNotDiffer) {
  test::TinyEngine tiny = engine_of("sim:mi300x");
  const UnitRun unit = run_unit(tiny.engine, request_of(1, 21));
  const UnitResult result = compare_units(unit, unit, tiny.engine.model().config);
  EXPECT_EQ(exit_code(result.status), 0);
  EXPECT_EQ(result.logits.positions, 21);
  EXPECT_EQ(result.logits.top1_agree, 21);
  EXPECT_EQ(result.logits.kl_max, 0);
  for (const Drift& drift : result.drift) EXPECT_EQ(drift.rel_l2, 0) << drift.layer;
  for (const StageDifference& stage : result.stages) EXPECT_EQ(stage.max_abs, 0) << name(stage.stage);
  EXPECT_GT(result.max_noise_ratio, 0);
}

TEST(WhatIf, UnitsDifferWithinTheirBoundsAndFaultsDoNot) {
  test::TinyEngine cpu = engine_of("cpu"), sim = engine_of("sim:mi300x");
  MatrixRequest request = request_of(1, 21);
  request.routes = reference_routes();
  const UnitRun reference = run_unit(cpu.engine, request);
  request.routes = {};
  const ModelConfig& config = cpu.engine.model().config;
  WhatIf result;
  result.reference = compare_units(reference, reference, config);
  result.units.push_back(compare_units(reference, run_unit(sim.engine, request), config));
  EXPECT_EQ(exit_code_of(result), 0);
  const UnitResult& unit = result.units.front();
  EXPECT_GT(unit.drift.front().rel_l2, 0);
  EXPECT_GT(unit.logits.kl_mean, 0);
  EXPECT_GE(unit.logits.kl_max, unit.logits.kl_mean);
  // 19 stages of 2 layers, final_norm and logits, in two phases.
  EXPECT_EQ(unit.stages.size(), 2u * (19 * 2 + 2));
  EXPECT_LE(unit.max_noise_ratio, 1);
  EXPECT_EQ(unit.first_fault, "");

  request.change = fault_change(sim.engine, {parse_fault("wq_column_major@prefill:1", 2)});
  result.units.push_back(compare_units(reference, run_unit(sim.engine, request), config));
  EXPECT_EQ(exit_code_of(result), 1);
  EXPECT_EQ(result.units.back().first_fault, "prefill layer 1 q");
  EXPECT_GT(result.units.back().max_noise_ratio, 1);
}

}  // namespace
}  // namespace greta
