// GRETA against transformers (fp32) on real models, every recorded stage; and against numpy (fp64) on
// SmolLM2: the greedy tokens.
//
// Tolerance: the relative L2 distance of a stage may be at most kSides times that of a run with rounding
// noise from a clean run (rounding_noise.h). kSides = 4: both sides round (a factor of sqrt 2), and the
// distance of a draw scatters.

#include <gmock/gmock.h>

#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "e2e/rounding_noise.h"
#include "engine/sampler.h"
#include "fault/fault.h"
#include "io/safetensors.h"
#include "model/gguf_model_file.h"
#include "numerics/metrics.h"
#include "record/recorder.h"

namespace greta {
namespace {

using test::kSides;

/// A model and what was recorded of it.
struct Spec {
  const char* name;
  const char* file;
  const char* golden;
  std::vector<const char*> prompts;
};

const Spec kSmolLM2{
    "SmolLM2", "SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2", {"p0_short", "p4_sys", "p5_ba", "p6_long"}};
// The long prompt exceeds the local layers' window.
const Spec kGemma3{"Gemma3", "gemma-3-270m-q4_k_m.gguf", "gemma3", {"p4_sys", "p6_long"}};
// Of two tokens (p0_short) the matrix route's noise bounds nothing: 1.4 at the last layer.
const Spec kQwen2{"Qwen2", "qwen.gguf", "qwen2", {"p4_sys", "p5_ba"}};

using LastRows = std::map<std::string, std::vector<float>>;  // "L0.q" -> the last row

std::string golden(const std::string& name) { return std::string(GRETA_SOURCE_DIR "/tests/goldens/") + name; }

nlohmann::json read_json(const std::string& path) {
  std::ifstream stream(path);
  return nlohmann::json::parse(stream);
}

/// transformers rotates halves, this GGUF holds adjacent pairs:
/// within a head, dim (i, half) is at 2 i + half.
std::vector<float> as_halves(const std::vector<float>& pairs, size_t head_dim) {
  std::vector<float> halves(pairs.size());
  for (size_t i = 0; i < pairs.size(); ++i) {
    const size_t head = i / head_dim, dim = i % head_dim;
    halves[head * head_dim + dim % 2 * (head_dim / 2) + dim / 2] = pairs[i];
  }
  return halves;
}

struct Forward {
  LastRows stages;
  std::vector<float> logits;
};

using Case = std::tuple<Spec, Route>;

class RealModelReference : public testing::TestWithParam<Case> {
 protected:
  static void TearDownTestSuite() { engine_.reset(); }

  void SetUp() override {
    const std::optional<std::string> path = test::model_file(spec().file);
    if (!path) GTEST_SKIP() << test::kNoModel;
    if (!engine_ || engine_->model().file.path() != *path) {
      engine_.reset();
      engine_ = std::make_unique<Engine>(open_model(*path), EngineOptions{2, best_isa(), Format::f32});
    }
    routes_.add(parse_route_rule("all=" + std::string(name(route()))));
  }

  const Spec& spec() const { return std::get<0>(GetParam()); }
  Route route() const { return std::get<1>(GetParam()); }
  /// The last layer's output.
  std::string last_stage() const { return fmt::format("L{}.x_out", engine_->model().config.n_layer - 1); }

  /// The prompt's last row at every stage; with a seed, under rounding noise.
  Forward forward(const std::string& prompt, std::optional<uint64_t> seed = {},
                  const std::string& fault = "") const {
    const std::vector<int32_t> tokens = reference_["prompts"][prompt]["ids"];
    Forward result;
    Recorder recorder([&](const Event& event, std::span<const float> values) {
      const std::string at =
          event.layer == kNoLayer ? event.stage : fmt::format("L{}.{}", event.layer, event.stage);
      result.stages[at].assign(values.begin(), values.end());
    });
    Plan plan = engine_->plan(Phase::prefill, std::ssize(tokens), routes_);
    const std::vector<FaultSpec> faults =
        fault.empty() ? std::vector<FaultSpec>{} : std::vector{parse_fault(fault, 30)};
    PlanEdit edit(plan);
    apply_faults(edit, *engine_, faults);
    insert_records(edit, recorder, {.layers = [](int) { return true; }});
    if (seed) test::add_rounding_noise(edit, *seed);
    edit.commit();
    Session session(*engine_, std::ssize(tokens));
    const std::span<const float> logits = session.forward(plan, tokens);
    result.logits.assign(logits.begin(), logits.end());
    return result;
  }

  /// By stage, how far noise of the size of all roundings takes it: the largest of three draws.
  std::map<std::string, double> noise(const std::string& prompt, const Forward& clean) const {
    std::map<std::string, double> distances;
    for (const uint64_t seed : {1, 2, 3}) {
      for (const auto& [stage, values] : forward(prompt, seed).stages) {
        double& distance = distances[stage];
        distance = std::max(distance, compare(clean.stages.at(stage), values).rel_l2);
      }
    }
    return distances;
  }

  /// The recorded reference of a prompt in this engine's order of elements; the name of its stage in ours.
  std::map<std::string, std::pair<std::vector<float>, std::vector<float>>> pairs(const std::string& prompt,
                                                                                 const Forward& ours) const {
    const MappedFile file(golden(fmt::format("reference/{}.safetensors", spec().golden)));
    std::map<std::string, std::pair<std::vector<float>, std::vector<float>>> result;
    for (const auto& [key, tensor] : parse_safetensors(file.bytes(), "reference")) {
      if (!key.starts_with(prompt + "/")) continue;
      std::string stage = key.substr(prompt.size() + 1);
      if (stage.starts_with("logits_top")) continue;  // the same values again, by id
      const bool sparse = stage == "logits_every_97";
      if (sparse) stage = "logits";
      std::vector<float> values = ours.stages.at(stage);
      const ModelConfig& config = engine_->model().config;
      if (config.rope_adjacent && (stage.ends_with(".q") || stage.ends_with(".k")))
        values = as_halves(values, static_cast<size_t>(config.head_dim));
      if (sparse) values = every_97th(values);
      result[stage] = {to_floats(tensor), values};
    }
    return result;
  }

  static std::vector<float> every_97th(const std::vector<float>& values) {
    std::vector<float> some;
    for (size_t i = 0; i < values.size(); i += 97) some.push_back(values[i]);
    return some;
  }

  static inline std::unique_ptr<Engine> engine_;
  RouteTable routes_;
  nlohmann::json reference_ = read_json(golden(fmt::format("reference/{}.json", spec().golden)));
};

std::string case_name(const testing::TestParamInfo<Case>& test) {
  return std::string(std::get<0>(test.param).name) + "_" + std::string(name(std::get<1>(test.param)));
}

const auto kRoutes = testing::Values(Route::vector, Route::matrix);
INSTANTIATE_TEST_SUITE_P(Models, RealModelReference,
                         testing::Combine(testing::Values(kSmolLM2, kGemma3, kQwen2), kRoutes), case_name);

class SmolLM2Reference : public RealModelReference {};
INSTANTIATE_TEST_SUITE_P(Routes, SmolLM2Reference, testing::Combine(testing::Values(kSmolLM2), kRoutes),
                         case_name);

TEST_P(RealModelReference, EveryStageIsWithinRounding) {
  for (const std::string prompt : spec().prompts) {
    const Forward ours = forward(prompt);
    const std::map<std::string, double> allowed = noise(prompt, ours);
    double worst = 0;
    for (const auto& [stage, pair] : pairs(prompt, ours)) {
      const double distance = compare(pair.first, pair.second).rel_l2;
      const double bound = kSides * allowed.at(stage);
      worst = std::max(worst, bound > 0 ? distance / bound : distance);
      EXPECT_LE(distance, bound) << prompt << " " << stage;
    }
    const double last = compare(pairs(prompt, ours)[last_stage()].first, ours.stages.at(last_stage())).rel_l2;
    fmt::print("{} {} {}: at most {:.2f} of the bound; {} at {:.2e}, bound {:.2e}\n", spec().name, prompt,
               name(route()), worst, last_stage(), last, kSides * allowed.at(last_stage()));
    // A bound that allows anything proves nothing.
    EXPECT_LT(kSides * allowed.at(last_stage()), route() == Route::vector ? 1e-4 : 0.5);
  }
}

TEST_P(SmolLM2Reference, AFaultExceedsTheBound) {
  const Forward clean = forward("p5_ba");
  const std::map<std::string, double> allowed = noise("p5_ba", clean);
  const Forward faulty = forward("p5_ba", {}, "wo_column_major:29");
  const auto pair = pairs("p5_ba", faulty)["L29.attn_out"];
  EXPECT_GT(compare(pair.first, pair.second).rel_l2, kSides * allowed.at("L29.attn_out"));
}

/// Token by token along numpy's f64 text: where the choice differs, f64's own margin must be below what
/// rounding does to logits. (tests/goldens/README.md: transformers chooses the same but for p4_sys.)
TEST_P(SmolLM2Reference, GreedyTokensAreThoseOfF64) {
  const nlohmann::json greedy = read_json(golden("smollm2_greedy.json"));
  for (const std::string prompt : spec().prompts) {
    const Forward clean = forward(prompt);
    const double rounding = kSides * compare(clean.logits, forward(prompt, 1).logits).max_abs;
    const std::vector<int32_t> tokens = reference_["prompts"][prompt]["ids"];
    const std::vector<int32_t> expected = greedy["prompts"][prompt]["greedy_24"];
    const std::vector<double> margins = greedy["prompts"][prompt]["margins"];
    Session session(*engine_, std::ssize(tokens) + 24);
    std::span<const float> logits =
        session.forward(engine_->plan(Phase::prefill, std::ssize(tokens), routes_), tokens);
    const Plan step = engine_->plan(Phase::decode, 1, routes_);
    int same = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      const int32_t token = argmax(logits);
      same += token == expected[i];
      EXPECT_TRUE(token == expected[i] || margins[i] < 2 * rounding)
          << prompt << " step " << i << ": " << token << ", f64 says " << expected[i] << " with margin "
          << margins[i];
      logits = session.forward(step, std::span(&expected[i], 1));
    }
    fmt::print("{} {}: {} of {} tokens as f64; rounding moves logits by {:.2e}\n", prompt, name(route()),
               same, expected.size(), rounding);
  }
}

}  // namespace
}  // namespace greta
