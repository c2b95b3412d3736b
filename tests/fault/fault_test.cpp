#include "fault/fault.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <set>

#include "base/error.h"
#include "engine/tiny_model.h"
#include "model/model_files.h"

namespace greta {
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

TEST(ParseFault, ReadsEveryCondition) {
  const FaultSpec spec = parse_fault("v_scaled:0,S=7,pos>=4,K>32,head>=1,every=3,by=-0.25", 2);
  EXPECT_EQ(spec.condition.rows_equal, 7);
  EXPECT_EQ(spec.condition.from_position, 4);
  EXPECT_EQ(spec.condition.k_above, 32);
  EXPECT_EQ(spec.condition.from_head, 1);
  EXPECT_EQ(spec.condition.every, 3);
  EXPECT_EQ(spec.size, -0.25);
}

TEST(ParseFault, SaysWhatIsWrong) {
  EXPECT_THAT([] { parse_fault("nothing", 2); },
              message("unknown fault \"nothing\"; `greta faults` lists them"));
  EXPECT_THAT([] { parse_fault("wq_column_major@later", 2); }, message("unknown phase"));
  EXPECT_THAT([] { parse_fault("wq_column_major:2", 2); }, message("layer 2 of a model of 2 layers"));
  EXPECT_THAT([] { parse_fault("wq_column_major:x", 2); }, message("is no number"));
  EXPECT_THAT([] { parse_fault("wq_column_major,T>1", 2); }, message("unknown condition"));
  EXPECT_THAT([] { parse_fault("wq_column_major,S>", 2); }, message("is no number"));
  EXPECT_THAT([] { parse_fault("wq_column_major,pos>=-1", 2); }, message("is no number from 0 on"));
}

TEST(ParseFault, RefusesWhatTheStageCannotHave) {
  EXPECT_THAT([] { parse_fault("w_down_tail,head>=1", 2); }, message("its stage has no heads"));
  EXPECT_THAT([] { parse_fault("softcap,K>1", 2); }, message("multiplies with no matrix"));
  EXPECT_THAT([] { parse_fault("final_norm_eps:0", 2); }, message("outside the layers"));
  EXPECT_THAT([] { parse_fault("wq_column_major,by=0.1", 2); }, message("has no size"));
  EXPECT_THAT([] { parse_fault("v_scaled,by=0", 2); }, message("relative size"));
  EXPECT_THAT([] { parse_fault("v_scaled,by=inf", 2); }, message("relative size"));
  EXPECT_THAT([] { parse_fault("v_scaled,every=0", 2); }, message("every=1 is every run"));
  EXPECT_THAT([] { parse_fault("qkv_route_ignored,S>1", 2); }, message("routes as a whole"));
}

TEST(FaultCondition, HoldsByTheBlock) {
  KernelArgs args;
  args.block_rows = 1;
  EXPECT_FALSE((FaultCondition{.rows_above = 1}.holds(args)));
  EXPECT_TRUE((FaultCondition{.rows_equal = 1}.holds(args)));
  args.block_rows = 2;
  EXPECT_TRUE((FaultCondition{.rows_above = 1}.holds(args)));
}

TEST(FaultTable, IsWideAndComplete) {
  std::set<std::string> names, classes;
  int nameless = 0;
  for (const Fault& fault : faults()) {
    EXPECT_TRUE(names.insert(fault.name).second) << fault.name;
    classes.insert(fault.fault_class);
    if (fault.hypothesis.empty()) ++nameless;
    EXPECT_FALSE(fault.what.empty() || fault.source.empty()) << fault.name;
    EXPECT_LE(fault.what.size(), 76u) << fault.name << ": greta faults keeps to 80 columns";
    EXPECT_LE(fault.source.size(), 70u) << fault.name;
    EXPECT_EQ(fault.make == nullptr, fault.name == "qkv_route_ignored");
  }
  EXPECT_GE(names.size(), 75u);
  EXPECT_GE(classes.size(), 45u);
  EXPECT_GE(nameless, 12);
}

/// What a stage of one op computed in one phase: all rows.
struct Observed {
  std::string at;  // "prefill L1.q"
  std::vector<float> values;
};

class Observe final : public Action {
 public:
  Observe(std::vector<Observed>& all, std::string at, bool cache, uint32_t& launches)
      : all_(all), at_(std::move(at)), cache_(cache), launches_(launches) {}
  std::string label() const override { return "observe"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    launches_ = std::max(launches_, args.launch->count);
    std::vector<float> values;
    if (cache_) {
      values = read_cache(args.cache, args.position + args.block_rows);
    } else {
      for (int64_t r = 0; r < args.in[0].rows; ++r) {
        values.insert(values.end(), args.in[0].row(r), args.in[0].row(r) + args.in[0].cols);
      }
    }
    all_.push_back({at_, std::move(values)});
  }

 private:
  std::vector<Observed>& all_;
  std::string at_;
  bool cache_;
  uint32_t& launches_;
};

constexpr int64_t kTokens = 21;
constexpr int kLayers = 2;  // a deeper model is cut off after these

/// Every stage of a prefill of 21 tokens and of the decode of one more, in the order in which they ran.
class Runner {
 public:
  Runner(Engine& engine, RouteTable routes = {}) : engine_(engine), routes_(std::move(routes)) {}
  const Engine& engine() const { return engine_; }

  std::vector<Observed> observe(const std::vector<std::string>& options, int64_t block = kTokens) {
    std::vector<FaultSpec> specs;
    for (const std::string& option : options) specs.push_back(parse_fault(option, kLayers));
    std::vector<Observed> all;
    const Plan prefill = plan(Phase::prefill, block, specs, all);
    const std::vector<int32_t> tokens = test::random_tokens(kTokens + 1);
    Session session(engine_, kTokens + 1, {prefill, prefill, {plan(Phase::decode, 1, specs, all)}});
    session.prefill(std::span(tokens).first(kTokens));
    session.step(tokens.back());
    EXPECT_EQ(launches_, 1u) << "a twin is one launch, like its kernel";
    return all;
  }

 private:
  Plan plan(Phase phase, int64_t rows, const std::vector<FaultSpec>& specs, std::vector<Observed>& all) {
    Plan plan = engine_.plan(phase, rows, routes_);
    PlanEdit edit(plan);
    edit.keep_only([](const Op& op) { return op.layer == kNoLayer || op.layer < kLayers; });
    apply_faults(edit, engine_, specs);
    edit.unfuse_all();
    for (const Op& op : edit.ops()) {
      if (!op.makes) continue;
      const std::string at = fmt::format("{} L{}.{}", name(phase), op.layer, name(*op.makes));
      edit.watch(op, std::make_shared<Observe>(all, at, op.makes == Stage::kv_write, launches_));
    }
    edit.commit();
    return plan;
  }

  Engine& engine_;
  RouteTable routes_;
  uint32_t launches_ = 0;
};

class FaultRun : public testing::Test {
 protected:
  std::vector<Observed> observe(const std::vector<std::string>& options, int64_t block = kTokens) {
    return Runner(tiny_.engine).observe(options, block);
  }

  test::TinyEngine tiny_{TensorType::q4_1, {2, best_isa(), Format::f32}};
};

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// Largest difference, by the largest magnitude of what ought to be; infinite where only one is finite.
double distance(const std::vector<float>& right, const std::vector<float>& wrong) {
  double most = 0, largest = 0;
  for (size_t i = 0; i < right.size(); ++i) {
    if (std::isfinite(right[i]) != std::isfinite(wrong[i])) return INFINITY;
    if (!std::isfinite(right[i])) continue;
    most = std::max(most, static_cast<double>(std::abs(right[i] - wrong[i])));
    largest = std::max(largest, static_cast<double>(std::abs(right[i])));
  }
  return most / largest;
}

/// Index of the first stage that differs, or the number of stages.
size_t first_difference(const std::vector<Observed>& clean, const std::vector<Observed>& faulty) {
  EXPECT_EQ(clean.size(), faulty.size());
  size_t i = 0;
  while (i < clean.size() && same_bits(clean[i].values, faulty[i].values)) ++i;
  return i;
}

bool in_prefill(const Observed& observed) { return observed.at.starts_with("prefill"); }

/// Whether this prefill of one block, this decode of one token have what the fault needs.
bool shows(const Fault& fault, Phase phase) {
  return fault.needs == Needs::nothing || (fault.needs == Needs::several_rows) == (phase == Phase::prefill);
}

std::string place_of(const Fault& fault) {
  if (is_outside_layers(fault.stage)) return "";
  return fault.stage == Stage::x_in ? ":0" : ":1";
}

/// Injects each fault into each phase: the first stage that differs must be the fault's, and by far more than
/// rounding: f32 rounding of these sums is below 1e-6 of the largest element (K <= 1536, 2^-24 an addition,
/// errors of random sign); the weakest fault must be ten times above.
void check_every_fault(Runner runner) {
  const std::vector<Observed> clean = runner.observe({});
  for (const Fault& fault : faults()) {
    if (!fault.make || fault.needs == Needs::matrix_unit || !suits(fault, runner.engine().model())) continue;
    for (const Phase phase : {Phase::prefill, Phase::decode}) {
      const std::string option = fault.name + "@" + std::string(name(phase)) + place_of(fault);
      SCOPED_TRACE(option);
      const std::vector<Observed> faulty = runner.observe({option});
      const size_t first = first_difference(clean, faulty);
      if (!shows(fault, phase)) {
        EXPECT_TRUE(first == clean.size() || !in_prefill(clean[first])) << clean[first].at;
        continue;
      }
      ASSERT_LT(first, clean.size()) << "nothing differs";
      const int layer = is_outside_layers(fault.stage) ? kNoLayer : fault.stage == Stage::x_in ? 0 : 1;
      EXPECT_EQ(clean[first].at, fmt::format("{} L{}.{}", name(phase), layer, name(fault.stage)));
      EXPECT_GT(distance(clean[first].values, faulty[first].values), 1e-5);
    }
  }
}

class EveryFault : public testing::TestWithParam<Route> {
 protected:
  static RouteTable routes() {
    RouteTable routes;
    routes.add(parse_route_rule("all=" + std::string(name(GetParam()))));
    return routes;
  }
};

TEST_P(EveryFault, ChangesItsStageAndNothingBefore) {
  test::TinyEngine tiny(TensorType::q4_1, {2, best_isa(), Format::f32});
  check_every_fault(Runner(tiny.engine, routes()));
}

TEST_P(EveryFault, ChangesItsStageOfSmolLM2) {
  GRETA_SKIP_WITHOUT("smollm2");
  Engine engine(open_model(test::model_path("smollm2")), {2, best_isa(), Format::f32});
  check_every_fault(Runner(engine, routes()));
}

INSTANTIATE_TEST_SUITE_P(Routes, EveryFault, testing::Values(Route::vector, Route::matrix),
                         [](const auto& param) { return std::string(name(param.param)); });

/// Indices of the elements of the first wrong stage that differ.
std::vector<size_t> wrong_elements(const std::vector<Observed>& clean, const std::vector<Observed>& faulty) {
  const size_t first = first_difference(clean, faulty);
  std::vector<size_t> wrong;
  if (first == clean.size()) return wrong;
  for (size_t i = 0; i < clean[first].values.size(); ++i) {
    if (clean[first].values[i] != faulty[first].values[i]) wrong.push_back(i);
  }
  return wrong;
}

TEST_F(FaultRun, ConditionsNameRowsAndHeads) {
  const std::vector<Observed> clean = observe({});
  constexpr size_t kWidth = 64;  // q, qk: 4 heads of 16
  for (const size_t i : wrong_elements(clean, observe({"wq_column_major@prefill:0,pos>=15,head>=3"}))) {
    EXPECT_GE(i / kWidth, 15u);
    EXPECT_GE(i % kWidth, 48u);
  }
  EXPECT_EQ(wrong_elements(clean, observe({"attn_out_zero@prefill:0,pos>=20"})).size(), kWidth);
  for (const size_t i : wrong_elements(clean, observe({"softmax_scale@prefill:0,head>=2,pos>=3"}))) {
    EXPECT_GE(i / kTokens % 4, 2u);
    EXPECT_GE(i / kTokens / 4, 3u);
  }
  // Rows of the cache: 32 keys and 32 values.
  const std::vector<size_t> swapped = wrong_elements(clean, observe({"kv_swapped@prefill:0,pos>=18"}));
  ASSERT_EQ(swapped.size(), 3 * kWidth);
  EXPECT_EQ(swapped.front(), 18 * kWidth);
}

TEST_F(FaultRun, ConditionsOnTheWholeBlock) {
  const std::vector<Observed> clean = observe({});
  EXPECT_EQ(first_difference(clean, observe({"v_scaled@prefill,S=20"})), clean.size());
  EXPECT_NE(first_difference(clean, observe({"v_scaled@prefill,S=21"})), clean.size());
  EXPECT_EQ(clean[first_difference(clean, observe({"v_scaled,S=1"}))].at, "decode L0.v");
  EXPECT_EQ(clean[first_difference(clean, observe({"v_scaled,every=2"}))].at, "decode L0.v")
      << "the op's second run";
  EXPECT_EQ(clean[first_difference(clean, observe({"w_down_tail,K>95"}))].at, "prefill L0.down");
  EXPECT_THAT([&] { observe({"w_down_tail,K>96"}); }, message("no op of this model's prefill can have it"));
}

TEST_F(FaultRun, SizesAreRelative) {
  const std::vector<Observed> clean = observe({}), faulty = observe({"v_scaled@prefill:1,by=0.001"});
  const size_t first = first_difference(clean, faulty);
  EXPECT_NEAR(distance(clean[first].values, faulty[first].values), 0.001, 1e-6);  // f32 rounding
}

TEST_F(FaultRun, ASmallerSizeIsASmallerError) {
  const std::vector<Observed> clean = observe({});
  int sized = 0;
  for (const Fault& fault : faults()) {
    if (!fault.has_size() || !suits(fault, tiny_.engine.model())) continue;
    ++sized;
    const std::string option = fault.name + "@decode" + place_of(fault);
    const std::vector<Observed> whole = observe({option});
    const std::vector<Observed> tenth = observe({fmt::format("{},by={}", option, fault.size / 10)});
    const size_t first = first_difference(clean, tenth);
    ASSERT_LT(first, clean.size()) << option;
    EXPECT_LT(distance(clean[first].values, tenth[first].values),
              0.5 * distance(clean[first].values, whole[first].values))
        << option;
  }
  EXPECT_GE(sized, 12);
}

TEST_F(FaultRun, ALaterFaultOfAnOpStartsFromTheEarlierOnesResult) {
  const std::vector<Observed> clean = observe({});
  const std::vector<Observed> one = observe({"q_bias@prefill:1"});
  const std::vector<Observed> both =
      observe({"q_bias@prefill:1", "up_odd_negated@prefill:1", "q_tiles_transposed@prefill:1"});
  const size_t first = first_difference(clean, both);
  ASSERT_EQ(clean[first].at, "prefill L1.q");
  for (size_t i = 0; i < one[first].values.size(); ++i) {
    EXPECT_EQ(both[first].values[i], one[first].values[i / 16 * 16 + i % 4 * 4 + i % 16 / 4]);
  }
}

TEST_F(FaultRun, EveryCountsTheRunsOfEachOp) {
  const std::vector<Observed> clean = observe({}, 7);
  // Blocks of 7, 7 and 7 tokens: only the second one sees its future, at qk and at pv.
  const std::vector<Observed> faulty = observe({"mask_absent@prefill:1,every=2"}, 7);
  std::vector<std::string> wrong;
  for (size_t i = 0; i < clean.size(); ++i) {
    if (!same_bits(clean[i].values, faulty[i].values) && in_prefill(clean[i])) wrong.push_back(clean[i].at);
  }
  EXPECT_THAT(wrong, testing::ElementsAre("prefill L1.qk", "prefill L1.softmax", "prefill L1.pv",
                                          "prefill L1.attn_out", "prefill L1.x_attn", "prefill L1.ffn_norm",
                                          "prefill L1.gate", "prefill L1.up", "prefill L1.act",
                                          "prefill L1.down", "prefill L1.x_out"))
      << "the last row, hence the logits, sees no future";
}

TEST_F(FaultRun, HistoryIsHiddenFromTheSecondBlockOn) {
  const std::vector<Observed> clean = observe({}, 16), faulty = observe({"history_hidden@prefill:0"}, 16);
  const size_t first = first_difference(clean, faulty);
  ASSERT_LT(first, clean.size());
  EXPECT_EQ(clean[first].at, "prefill L0.qk");
  EXPECT_EQ(clean[first].values.size(), 5u * 4u * 21u) << "rows 16 to 20, of 4 heads";
}

TEST_F(FaultRun, SaysWhatTheModelCannotHave) {
  EXPECT_THAT([&] { observe({"down_stale:0"}); }, message("no op of this model's prefill"));
  EXPECT_THAT([&] { observe({"embedding_scale:1"}); }, message("no op of this model's prefill"));
  EXPECT_THAT([&] { observe({"v_scaled,head>=2"}); }, message("head 2 of 2 heads at v"));
  test::TinyEngine other(TensorType::q8_0);
  Plan plan = other.engine.plan(Phase::decode, 1);
  const std::vector<FaultSpec> specs{parse_fault("wq_nibbles:0", 2)};
  EXPECT_THAT(
      [&] {
        PlanEdit edit(plan);
        apply_faults(edit, other.engine, specs);
      },
      message("blk.0.attn_q.weight is q8_0"));
}

}  // namespace
}  // namespace greta
