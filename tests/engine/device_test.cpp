// Devices with memory of their own: a plan leaves the CPU's bits on each, actions between its kernels
// included. Emulated ones everywhere, CUDA where there is a card. Tolerance: none.

#include "engine/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/error.h"
#include "engine/forward_hashes.h"
#include "engine/tiny_model.h"

namespace greta {
namespace {

using test::StageHashes;
using test::TinyEngine;

std::vector<std::string> devices() {
  std::vector<std::string> names{"emu:h100", "emu:mi300x"};
  if (missing_for_cuda().empty()) names.push_back("cuda");
  return names;
}

class OnDevice : public testing::TestWithParam<std::string> {};

std::string device_label(const testing::TestParamInfo<std::string>& info) {
  std::string label = info.param;
  std::replace(label.begin(), label.end(), ':', '_');
  return label;
}

INSTANTIATE_TEST_SUITE_P(Devices, OnDevice, testing::ValuesIn(devices()), device_label);

EngineOptions options_for(const std::string& device, Format cache = Format::f32) {
  EngineOptions options{2, best_isa(), cache};
  options.device = device;
  return options;
}

RouteTable route_of_all(const char* route) {
  RouteTable table;
  table.add(parse_route_rule(std::string("all=") + route));
  return table;
}

/// Every stage of decoding `tokens` one by one, then of prefilling them in blocks of 8.
std::vector<StageHashes> all_stages(Engine& engine, std::span<const int32_t> tokens, const char* route) {
  std::vector<StageHashes> all = test::decode_all(engine, tokens, route_of_all(route));
  all.push_back(test::prefill(engine, tokens, 8, route_of_all(route)));
  return all;
}

TEST_P(OnDevice, EveryStageHasTheBitsOfTheCpu) {
  struct Setting {
    TensorType type;
    const char* route;
    Format cache;
  };
  const std::vector<int32_t> tokens = test::random_tokens(11);
  for (const Setting& of : {Setting{TensorType::q4_1, "matrix", Format::f32},
                            {TensorType::q4_1, "vector", Format::f16},
                            {TensorType::q6_k, "matrix", Format::q8_0},
                            {TensorType::q4_k, "matrix", Format::f16},
                            {TensorType::bf16, "vector", Format::f32}}) {
    TinyEngine cpu(of.type, options_for("cpu", of.cache)), device(of.type, options_for(GetParam(), of.cache));
    EXPECT_EQ(all_stages(cpu.engine, tokens, of.route), all_stages(device.engine, tokens, of.route))
        << name(of.type) << ", " << of.route;
  }
}

TEST_P(OnDevice, ProductsOfSixteenBitsAreTheUnitsInBothPhases) {
  const std::vector<int32_t> tokens = test::random_tokens(9);
  for (const TensorType type : {TensorType::bf16, TensorType::f16}) {
    TinyEngine device(type, options_for(GetParam()));
    const std::vector<StageHashes> stages = all_stages(device.engine, tokens, "matrix");
    EXPECT_EQ(stages.back(), stages[stages.size() - 2]) << name(type);
    // A card has the bits of the emulated one with its unit: those of the simulated unit.
    const std::string kernels = device.engine.kernels(), unit = kernels.substr(kernels.find(':') + 1);
    if (kernels.starts_with("emu") || unit == "b200") continue;
    TinyEngine emulated(type, options_for("emu:" + unit));
    EXPECT_EQ(stages, all_stages(emulated.engine, tokens, "matrix")) << name(type) << " on " << kernels;
  }
}

/// What greta run does: fused kernels, no actions, several blocks; steps are recorded once, then replayed.
/// `change`: something else.
std::vector<float> logits_after(Engine& engine, std::span<const int32_t> tokens, PlanChange change = {}) {
  Session session(engine, std::ssize(tokens),
                  make_session_plans(engine, {.block = 5, .steps = {{}}, .fast = true, .change = change}));
  session.prefill(tokens.first(tokens.size() - 4));
  std::vector<float> logits;
  for (const int32_t token : tokens.last(4)) {
    const std::span<const float> row = session.step(token);
    logits.insert(logits.end(), row.begin(), row.end());
  }
  return logits;
}

TEST_P(OnDevice, TheFusedProgramHasTheBitsOfTheCpu) {
  const std::vector<int32_t> tokens = test::random_tokens(13);
  for (const auto& [type, cache] : {std::pair{TensorType::q5_0, Format::f32},
                                    {TensorType::q4_k, Format::f16},
                                    {TensorType::q6_k, Format::q8_0}}) {
    TinyEngine cpu(type, options_for("cpu", cache)), device(type, options_for(GetParam(), cache));
    EXPECT_EQ(logits_after(cpu.engine, tokens), logits_after(device.engine, tokens)) << name(type);
  }
}

TEST_P(OnDevice, AStepThatSeesMoreThanBeforeHasTheBitsOfTheCpu) {  // so many that its attention is divided
  const std::vector<int32_t> tokens = test::random_tokens(130);
  TinyEngine cpu(TensorType::q8_0, options_for("cpu", Format::f16)),
      device(TensorType::q8_0, options_for(GetParam(), Format::f16));
  EXPECT_EQ(logits_after(cpu.engine, tokens), logits_after(device.engine, tokens));
}

TEST_P(OnDevice, OpsThatAreLaunchedTogetherHaveTheBitsOfThoseAlone) {
  class Look final : public Action {
   public:
    std::string label() const override { return "look"; }
    void run(const KernelArgs&, Part) override {}
  };
  // With an action in a plan, all its ops are launched one by one.
  const PlanChange look{.edit = [](PlanEdit& edit) {
    edit.unfuse_all();
    edit.watch(*edit.find({0, Stage::q}), std::make_shared<Look>());
  }};
  const std::vector<int32_t> tokens = test::random_tokens(13);
  for (const TensorType type : {TensorType::bf16, TensorType::f16, TensorType::q4_1}) {
    TinyEngine device(type, options_for(GetParam()));
    EXPECT_EQ(logits_after(device.engine, tokens, look), logits_after(device.engine, tokens)) << name(type);
  }
}

/// Turns the sign of a block's every other element, in place.
class TurnSigns final : public Action {
 public:
  std::string label() const override { return "turn"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    for (int64_t r = 0; r < args.out.rows; ++r) {
      for (int64_t i = 0; i < args.out.cols; i += 2) args.out.row(r)[i] = -args.out.row(r)[i];
    }
  }
};

TEST_P(OnDevice, WhatAnActionWritesIsWhatTheNextKernelReads) {
  const std::vector<int32_t> tokens = test::random_tokens(3);
  const auto stages = [&](Engine& engine, bool turned) {
    StageHashes hashes;
    Plan plan = engine.plan(Phase::prefill, 3);
    if (turned) {
      PlanEdit edit(plan);
      const Op& q = *edit.find({0, Stage::q});
      edit.after(q, {.layer = 0,
                     .call = ActionCall{std::make_shared<TurnSigns>()},
                     .reads = {q.writes},
                     .writes = q.writes});
    }
    test::hash_stages(plan, hashes);
    Session session(engine, 3);
    session.forward(plan, tokens);
    return hashes;
  };
  TinyEngine cpu(TensorType::q8_0, options_for("cpu")), device(TensorType::q8_0, options_for(GetParam()));
  const StageHashes turned = stages(device.engine, true);
  EXPECT_EQ(turned, stages(cpu.engine, true));
  EXPECT_NE(turned.at("L0.pv"), stages(device.engine, false).at("L0.pv"));
}

TEST_P(OnDevice, TheKernelThatRanSaysSoItself) {
  class Attest final : public Action {
   public:
    explicit Attest(std::string& seen) : seen_(seen) {}
    std::string label() const override { return "attest"; }
    void run(const KernelArgs& args, Part part) override {
      if (part.index == 0) seen_ = fmt::format("{} x {}", args.launch->kernel, args.launch->count);
    }

   private:
    std::string& seen_;
  };
  TinyEngine device(TensorType::q4_1, options_for(GetParam()));
  std::string seen;
  Plan plan = device.engine.plan(Phase::decode, 1);
  {
    PlanEdit edit(plan);
    edit.watch(*edit.find({1, Stage::gate}), std::make_shared<Attest>(seen));
  }
  Session session(device.engine, 2);
  for (const int32_t token : {1, 2}) {
    session.forward(plan, std::span(&token, 1));
    EXPECT_EQ(seen, GetParam().substr(0, GetParam().find(':')) == "cuda" ? "cuda.gemv.q4_1 x 1"
                                                                         : "emu.gemv.q4_1 x 1");
  }
}

TEST_P(OnDevice, MemoryThatNobodyHasWrittenIsReadByNobody) {
  const std::vector<int32_t> tokens = test::random_tokens(5);
  TinyEngine device(TensorType::q4_1, options_for(GetParam()));
  const Plan plan = device.engine.plan(Phase::prefill, 5);
  const auto logits = [&](Executor& executor, float unused) {
    KvCache cache = device.engine.cache(8);
    cache.fill_unused(unused);
    executor.fill_buffers(unused);
    const std::span<const float> row = executor.run(plan, tokens, 0, cache);
    return std::vector<float>(row.begin(), row.end());
  };
  const auto executor = device.engine.executor(device.engine.pool());
  const std::vector<float> first = logits(*executor, 0);
  EXPECT_EQ(first, logits(*executor, std::nanf("")));
  EXPECT_EQ(first, logits(*executor, 1e30f));
}

TEST(Device, ANameThatIsNoneListsThoseThatAre) {
  for (const char* name : {"cudo", "cuda:", "cuda:x", "cuda:-1", "emu:h200", "sim:", "", "cpu:1"}) {
    try {
      find_device(name);
      ADD_FAILURE() << name;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr("known: cpu, cuda, emu:h100")) << name;
    }
  }
  EXPECT_EQ(find_device("cuda:3").kernels, "cuda");
  EXPECT_EQ(find_device("sim:h100").kernels, "sim:h100");
}

TEST(Device, CudaWithoutADriverSaysWhatIsMissing) {
  if (missing_for_cuda().empty()) GTEST_SKIP() << "there is a driver";
  ThreadPool pool(1);
  EXPECT_THAT(
      [&] { open_device("cuda", pool); },
      testing::ThrowsMessage<Error>(testing::HasSubstr("--device cuda: missing: " + missing_for_cuda())));
}

TEST(Device, AWeightTypeWithoutKernelsThereIsNamed) {
  TinyEngine device(TensorType::iq4_nl, options_for("emu:h100"));
  EXPECT_THAT([&] { device.engine.plan(Phase::decode, 1); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("(weight type iq4_nl)")));
}

}  // namespace
}  // namespace greta
