// Tiny models of every architecture against transformers in f64 (tests/goldens/make_architectures.py): every
// stage, as one block and token by token, on both routes.
//
// Tolerance: the relative L2 distance of a stage over its recorded rows may be at most kSides times that of a
// run with rounding noise from a clean run (rounding_noise.h). Only one side rounds here, but few elements
// scatter more than SmolLM2's: the factor is the same.

#include <gmock/gmock.h>

#include <map>

#include "e2e/rounding_noise.h"
#include "engine/forward_hashes.h"
#include "io/archive.h"
#include "io/safetensors.h"
#include "model/gguf.h"
#include "numerics/metrics.h"
#include "record/recorder.h"

namespace greta {
namespace {

using test::kSides;
constexpr std::array kModels = {
    "llama",    "qwen2",   "qwen3",    "gemma2",        "gemma3",    "phi3",          "mixtral", "qwen2moe",
    "qwen3moe", "gpt-oss", "mistral",  "smollm3",       "olmo2",     "granite",       "tuned",   "yarn",
    "linear",   "partial", "longrope", "longrope_long", "deepseek2", "deepseek2_lite"};

using RowsByPosition = std::map<int64_t, std::vector<float>>;  // by position
using Stages = std::map<std::string, RowsByPosition>;          // "L0.q", "final_norm"

std::vector<int64_t> to_ints(const TensorView& tensor) {
  std::vector<int64_t> numbers;
  for (const float value : to_floats(tensor)) numbers.push_back(static_cast<int64_t>(value));
  return numbers;
}

/// What is in NAME.tgz.
struct Golden {
  explicit Golden(const std::string& name)
      : files(read_archive(GRETA_SOURCE_DIR "/tests/goldens/architectures/" + name + ".tgz",
                           [](const std::string&) { return true; })) {
    const auto tensors = parse_safetensors(files.at("golden.safetensors"), name);
    for (const int64_t token : to_ints(tensors.at("tokens"))) {
      tokens.push_back(static_cast<int32_t>(token));
    }
    rows = to_ints(tensors.at("rows"));
    for (const auto& [key, tensor] : tensors) {
      if (key == "tokens" || key == "rows") continue;
      const std::vector<float> values = to_floats(tensor);
      const int64_t width = tensor.shape.at(1);
      for (int64_t r = 0; r < tensor.shape.at(0); ++r) {
        const auto row = values.begin() + r * width;
        stages[key][key == "logits" ? r : rows.at(static_cast<size_t>(r))].assign(row, row + width);
      }
    }
  }

  std::map<std::string, std::vector<std::byte>> files;
  std::vector<int32_t> tokens;
  std::vector<int64_t> rows;
  Stages stages;
};

/// The distance of two runs at a stage, over the positions that both have; nullopt if that is none.
std::optional<double> distance(const RowsByPosition& expected, const RowsByPosition& ours) {
  std::vector<float> a, b;
  for (const auto& [position, row] : expected) {
    const auto found = ours.find(position);
    if (found == ours.end()) continue;
    a.insert(a.end(), row.begin(), row.end());
    b.insert(b.end(), found->second.begin(), found->second.end());
  }
  if (a.empty() || a.size() != b.size()) return std::nullopt;
  return compare(a, b).rel_l2;
}

class Architectures : public testing::TestWithParam<std::tuple<const char*, Route>> {
 protected:
  std::string model() const { return std::get<0>(GetParam()); }
  Route route() const { return std::get<1>(GetParam()); }

  /// The test's route; routers are f32, which have the vector route only.
  RouteTable routes() const {
    RouteTable all;
    all.add(parse_route_rule("all=" + std::string(name(route()))));
    all.add(parse_route_rule("router,shared_gate=vector"));
    return all;
  }

  Engine open(EngineOptions options = {1, best_isa(), Format::f32}) const {
    Model bound = bind_model(parse_gguf(golden_.files.at("model.gguf"), model()));
    if (model().ends_with("_long")) set_context(bound, bound.config.n_ctx);
    return {std::move(bound), options};
  }

  /// All recorded stages: of one block of all tokens, or (decode) of one token after the other.
  Stages forward(Engine& engine, Phase phase, std::optional<uint64_t> seed = {}) const {
    Stages stages;
    Recorder recorder([&](const Event& event, std::span<const float> values) {
      const std::string at =
          event.layer == kNoLayer ? event.stage : fmt::format("L{}.{}", event.layer, event.stage);
      const std::vector<int64_t> positions = positions_of(event);
      const size_t width = values.size() / positions.size();
      for (size_t r = 0; r < positions.size(); ++r) {
        const auto row = values.subspan(r * width, width);
        stages[at][positions[r]].assign(row.begin(), row.end());
      }
    });
    const int64_t n_tokens = std::ssize(golden_.tokens), block = phase == Phase::prefill ? n_tokens : 1;
    Plan plan = engine.plan(phase, block, routes());
    PlanEdit edit(plan);
    insert_records(edit, recorder,
                   {[](int) { return true; },
                    [](Stage stage) {
                      return stage != Stage::kv_write && stage != Stage::qk && stage != Stage::softmax;
                    },
                    [&](Stage stage, int64_t n_pos) {
                      return stage == Stage::logits ? std::vector{n_pos - 1} : golden_.rows;
                    }});
    if (seed) test::add_rounding_noise(edit, *seed);
    edit.commit();
    Session session(engine, n_tokens);
    for (int64_t at = 0; at < n_tokens; at += block) {
      session.forward(plan,
                      std::span(golden_.tokens).subspan(static_cast<size_t>(at), static_cast<size_t>(block)));
    }
    return stages;
  }

  /// By stage, how far noise of the size of all roundings takes it: the largest of three draws.
  std::map<std::string, double> noise(Engine& engine, Phase phase, const Stages& clean) const {
    std::map<std::string, double> distances;
    for (const uint64_t seed : {1, 2, 3}) {
      for (const auto& [stage, rows] : forward(engine, phase, seed)) {
        distances[stage] = std::max(distances[stage], distance(clean.at(stage), rows).value());
      }
    }
    return distances;
  }

  void expect_golden(Engine& engine, Phase phase) const {
    const Stages ours = forward(engine, phase);
    const std::map<std::string, double> allowed = noise(engine, phase, ours);
    double worst = 0;
    for (const auto& [stage, expected] : golden_.stages) {
      const auto found = ours.find(stage);
      ASSERT_NE(found, ours.end()) << stage << " was not recorded";
      const std::optional<double> d = distance(expected, found->second);
      ASSERT_TRUE(d) << stage << " has other rows than the golden";
      const double bound = kSides * allowed.at(stage);
      if (bound > 0) worst = std::max(worst, *d / bound);
      EXPECT_LE(*d, bound) << name(phase) << " " << stage;
    }
    const double logits = distance(golden_.stages.at("logits"), ours.at("logits")).value();
    fmt::print("{} {} {}: {} stages, at most {:.2f} of the bound; logits at {:.2e}, bound {:.2e}\n", model(),
               name(route()), name(phase), golden_.stages.size(), worst, logits,
               kSides * allowed.at("logits"));
    // A bound that allows anything proves nothing.
    EXPECT_LT(kSides * allowed.at("logits"), route() == Route::vector ? 1e-4 : 0.5);
  }

  const Golden golden_{model()};
};

INSTANTIATE_TEST_SUITE_P(Goldens, Architectures,
                         testing::Combine(testing::ValuesIn(kModels),
                                          testing::Values(Route::vector, Route::matrix)),
                         [](const auto& test) {
                           std::string model = std::get<0>(test.param);
                           std::erase(model, '-');
                           return model + "_" + std::string(name(std::get<1>(test.param)));
                         });

TEST_P(Architectures, EveryStageIsWithinRounding) {
  Engine engine = open();
  expect_golden(engine, Phase::prefill);
  expect_golden(engine, Phase::decode);
}

/// Tolerance: none. 200 tokens: several windows, blocks of 16 and tiles.
TEST_P(Architectures, EveryShapeThreadCountAndIsaGivesTheSameBits) {
  std::vector<int32_t> tokens = golden_.tokens;
  while (tokens.size() < 200) tokens.push_back(tokens[tokens.size() * 7 % golden_.tokens.size()]);
  const RouteTable routes = this->routes();
  Engine engine = open();
  const std::vector<test::StageHashes> steps = test::decode_all(engine, tokens, routes);
  const auto first = [&](size_t n) { return std::span(tokens).first(n); };
  for (const size_t s : {1u, 2u, 7u, 8u, 9u, 15u, 16u, 17u, 31u, 33u, 64u, 65u, 97u, 129u, 200u}) {
    EXPECT_EQ(test::prefill(engine, first(s), static_cast<int64_t>(s), routes), steps[s - 1]) << "S = " << s;
  }
  for (const int64_t block : {1, 7, 16, 33}) {
    EXPECT_EQ(test::prefill(engine, first(97), block, routes), steps[96]) << "blocks of " << block;
  }
  for (const int threads : {2, 3}) {
    Engine many = open({threads, best_isa(), Format::f32});
    EXPECT_EQ(test::prefill(many, first(97), 97, routes), steps[96]) << threads << " threads";
    EXPECT_EQ(test::decode_all(many, first(40), routes).back(), steps[39]) << threads << " threads";
  }
  for (const Isa isa : {Isa::scalar, Isa::avx2}) {
    if (isa > best_isa()) continue;
    Engine other = open({1, isa, Format::f32});
    EXPECT_EQ(test::prefill(other, first(65), 65, routes), steps[64]) << name(isa);
    EXPECT_EQ(test::decode_all(other, first(40), routes).back(), steps[39]) << name(isa);
  }
}

/// Fused attention skips blocks before the window; taken apart it does not. Tolerance: none.
TEST_P(Architectures, TakenApartAttentionGivesTheSameLogits) {
  Engine engine = open({2, best_isa(), Format::f32});
  const auto logits = [&](bool apart) {
    Plan plan = engine.plan(Phase::prefill, std::ssize(golden_.tokens), {});
    if (apart) PlanEdit(plan).unfuse_all();
    Session session(engine, std::ssize(golden_.tokens));
    const std::span<const float> row = session.forward(plan, golden_.tokens);
    return std::vector<float>(row.begin(), row.end());
  };
  EXPECT_EQ(hash_floats(logits(true)), hash_floats(logits(false)));
}

}  // namespace
}  // namespace greta
