// Checks without a reference on a small random model. Tolerance: none, every statement is about bits.

#include "selftest/metamorphic.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "engine/plan_edit.h"
#include "engine/tiny_model.h"
#include "fault/fault.h"
#include "experiment/snapshot.h"
#include "selftest/metamorphic_token0.h"

namespace greta {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSupersetOf;
using testing::Property;
using testing::SizeIs;
using testing::Throws;

using Checks = std::vector<MetamorphicCheck>;

Checks run(TensorType type, const std::vector<std::string>& faults = {}, const std::string& route = "",
           Format kv = Format::f32, std::function<void(PlanEdit&)> edit = {}) {
  test::TinyEngine tiny(type, {engine_threads_for_metamorphic(2), best_isa(), kv});
  MetamorphicRequest request;
  request.threads = 2;
  request.change = then(fault_change(tiny.engine, parse_faults(faults, 2)), {.edit = std::move(edit)});
  if (!route.empty()) request.routes.add(parse_route_rule(route));
  return run_metamorphic(tiny.engine, request);
}

const MetamorphicCheck& find(const Checks& checks, const std::string& name) {
  for (const MetamorphicCheck& check : checks) {
    if (check.name == name) return check;
  }
  throw std::runtime_error("no check " + name);
}

std::vector<std::string> failed(const Checks& checks) {
  std::vector<std::string> names;
  for (const MetamorphicCheck& check : checks) {
    if (check.result() == CheckResult::failed) names.push_back(check.name);
  }
  return names;
}

std::vector<std::string> failed_cases(const MetamorphicCheck& check) {
  std::vector<std::string> labels;
  for (const CheckCase& one : check.cases) {
    if (one.deviation) labels.push_back(one.label);
  }
  return labels;
}

TEST(Metamorphic, CleanEnginePassesEverything) {
  for (const TensorType type : {TensorType::q4_1, TensorType::bf16}) {
    for (const Format kv : {Format::f32, Format::f16}) {
      const Checks checks = run(type, {}, "", kv);
      EXPECT_THAT(checks, SizeIs(9));
      for (const MetamorphicCheck& check : checks) {
        EXPECT_EQ(check.result(), CheckResult::passed)
            << check.name << ": " << (check.cases.empty() ? check.why_not : check.cases.front().label);
        EXPECT_LE(check.states.size(), 41u) << check.name;
      }
      EXPECT_THAT(find(checks, "prefill_equals_decode").cases, SizeIs(12));
      EXPECT_THAT(find(checks, "token0_sees_itself").cases, SizeIs(4));
      EXPECT_THAT(find(checks, "thread_counts").cases, SizeIs(2));  // 2 is what all others run with
    }
  }
}

TEST(Metamorphic, ColumnMajorInPrefillFailsPrefillEqualsDecode) {
  const Checks checks = run(TensorType::q4_1, {"wq_column_major@prefill"});
  EXPECT_THAT(failed(checks), ElementsAre("prefill_equals_decode"));
  const MetamorphicCheck& check = find(checks, "prefill_equals_decode");
  // A single token attends to itself only, whatever its q is.
  EXPECT_THAT(failed_cases(check), SizeIs(11));
  EXPECT_EQ(check.cases.front().label, "1");
  EXPECT_FALSE(check.cases.front().deviation);
  const Deviation& first = *check.cases[1].deviation;
  EXPECT_EQ(first.length, 15);
  EXPECT_EQ(first.layer, 1);     // layer 0's q acts on the keys of layer 1
  EXPECT_EQ(first.position, 1);  // of position 1: position 0 sees itself only
  EXPECT_EQ(first.what, "key");
}

TEST(Metamorphic, WrongValuesOfALayerAreFoundThere) {
  const Checks checks = run(TensorType::q4_1, {"wv_column_major@prefill:1"});
  const Deviation& first = *find(checks, "prefill_equals_decode").cases.front().deviation;
  EXPECT_EQ(first.layer, 1);
  EXPECT_EQ(first.position, 0);
  EXPECT_EQ(first.what, "value");
}

TEST(Metamorphic, FaultThatNeedsAWideBlockFailsInChunks) {
  const Checks checks = run(TensorType::q4_1, {"wk_column_major@prefill,S>32"});
  EXPECT_THAT(failed_cases(find(checks, "prefill_equals_decode")),
              ElementsAre("33", "96", "97", "128", "129", "256", "257"));
  // Chunks of 33 and 128 end in smaller ones (129 = 3 * 33 + 30 = 128 + 1).
  EXPECT_THAT(failed_cases(find(checks, "chunks_equal_block")), ElementsAre("7", "33", "128"));
}

TEST(Metamorphic, FaultInBothPhasesIsNotForThese) {
  EXPECT_THAT(failed(run(TensorType::q4_1, {"wq_column_major"})), IsEmpty());
}

TEST(Metamorphic, DifferentRoutesAreNotApplicable) {
  const Checks checks = run(TensorType::q4_1, {}, "decode:q=vector");
  const MetamorphicCheck& check = find(checks, "prefill_equals_decode");
  EXPECT_EQ(check.result(), CheckResult::not_applicable);
  EXPECT_THAT(check.why_not, HasSubstr("q runs on the matrix route in prefill, on vector in decode"));
  EXPECT_THAT(failed(checks), IsEmpty());
  EXPECT_EQ(count(checks, CheckResult::passed), 8);
  EXPECT_EQ(count(checks, CheckResult::failed), 0);
  EXPECT_EQ(count(checks, CheckResult::not_applicable), 1);
}

TEST(Metamorphic, SaysWhere) {
  const Checks checks = run(TensorType::q4_1, {"wv_column_major@decode:1"});
  EXPECT_THAT(failed(checks), ElementsAre("prefill_equals_decode"));
  const MetamorphicCheck& check = checks.front();
  EXPECT_EQ(check.name, "prefill_equals_decode");
  EXPECT_THAT(check.cases, SizeIs(12));
  const Deviation& first = *check.cases.front().deviation;
  EXPECT_EQ(first.layer, 1);
  EXPECT_EQ(first.what, "value");
}

TEST(Metamorphic, NeedsAnEngineOfEnoughThreads) {
  test::TinyEngine tiny(TensorType::q4_1, {2, best_isa(), Format::f32});
  EXPECT_THAT([&] { run_metamorphic(tiny.engine, {.threads = 1}); },
              Throws<Error>(Property(&Error::what, HasSubstr("an engine made for 3, not 2"))));
}

/// Runs the kernel, then spoils it.
class Spoiled : public Action {
 public:
  using Spoil = std::function<void(const KernelArgs&)>;
  Spoiled(const KernelInfo& kernel, Spoil spoil) : kernel_(kernel), spoil_(std::move(spoil)) {}
  std::string label() const override { return "spoiled"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index == 0) {
      kernel_.run(args, {0, 1});
      spoil_(args);
    }
  }

 private:
  const KernelInfo& kernel_;
  Spoil spoil_;
};

void spoil(PlanEdit& edit, Stage stage, Spoiled::Spoil how) {
  Op& op = *edit.find({is_outside_layers(stage) ? kNoLayer : 1, stage});
  edit.replace(op, std::make_shared<Spoiled>(*kernel_call(op)->kernel, std::move(how)));
}

void spoil(Plan& plan, Stage stage, Spoiled::Spoil how) {
  PlanEdit edit(plan);
  spoil(edit, stage, std::move(how));
}

std::vector<std::string> failed_with(Stage stage, Spoiled::Spoil how) {
  return failed(run(TensorType::q4_1, {}, "", Format::f32, [&](PlanEdit& edit) { spoil(edit, stage, how); }));
}

TEST(Metamorphic, EveryCheckCanFail) {
  // A race: now and then an element is wrong.
  int calls = 0;
  EXPECT_THAT(failed_with(Stage::up, [&](const KernelArgs& args) { args.out.row(0)[0] += ++calls % 7 == 0; }),
              IsSupersetOf({"second_run", "thread_counts"}));
  // Attention over one slot too many.
  const auto too_far = [](const KernelArgs& args) {
    args.out.row(0)[0] += read_cache(args.cache, args.position + args.block_rows + 1).back();
  };
  EXPECT_THAT(failed_with(Stage::pv, too_far), IsSupersetOf({"sane_outputs", "unused_is_unread"}));
  // The same, but what nobody ever wrote counts as zero.
  const auto stale = [](const KernelArgs& args) {
    const float next = read_cache(args.cache, args.position + args.block_rows + 1).back();
    args.out.row(args.out.rows - 1)[0] += std::isnan(next) ? 0 : next;
  };
  EXPECT_THAT(failed_with(Stage::pv, stale), ElementsAre("unused_is_unread", "recycled_cache", "second_run"));
  // Values of the head beside.
  EXPECT_THAT(failed_with(Stage::pv,
                          [](const KernelArgs& args) {
                            for (int64_t r = 0; r < args.out.rows; ++r)
                              std::copy_n(args.out.row(r) + 48, 16, args.out.row(r) + 16);
                          }),
              ElementsAre("token0_sees_itself"));
  EXPECT_THAT(failed_with(Stage::logits,
                          [](const KernelArgs& args) { std::fill_n(args.out.row(0), args.out.cols, 1.0f); }),
              ElementsAre("sane_outputs"));
}

/// A kernel whose third thread does nothing.
class LazyThird final : public Action {
 public:
  explicit LazyThird(const KernelInfo& kernel) : kernel_(kernel) {}
  std::string label() const override { return "lazy third thread"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index != 2) kernel_.run(args, part);
  }

 private:
  const KernelInfo& kernel_;
};

TEST(Metamorphic, NamesTheThreadCount) {
  const Checks checks = run(TensorType::q4_1, {}, "", Format::f32, [](PlanEdit& edit) {
    Op& op = *edit.find({0, Stage::ffn_norm});
    edit.replace(op, std::make_shared<LazyThird>(*kernel_call(op)->kernel));
  });
  EXPECT_THAT(failed(checks), ElementsAre("thread_counts"));
  EXPECT_THAT(failed_cases(find(checks, "thread_counts")), ElementsAre("3"));
}

TEST(Metamorphic, FusedAttentionIsHeldAgainstItsParts) {
  static KernelInfo wrong;
  const Checks checks = run(TensorType::q4_1, {}, "", Format::f32, [](PlanEdit& edit) {
    KernelCall& attention = *kernel_call(*edit.find({1, Stage::pv}));
    wrong = *attention.kernel;
    wrong.run = [](const KernelArgs& args, Part part) {
      for (int64_t r = 0; part.index == 0 && r < args.out.rows; ++r)
        std::fill_n(args.out.row(r), args.out.cols, 0.5f);
    };
    attention.kernel = &wrong;
  });
  EXPECT_THAT(failed(checks), ElementsAre("fused_ops"));
}

TEST(Token0, SeesAWrongWeightAndAWrongHead) {
  test::TinyEngine tiny(TensorType::q4_1);
  const std::vector<int32_t> tokens = test::random_tokens(17);
  const auto check = [&](Stage stage, Spoiled::Spoil how) {
    Plan plan = tiny.engine.plan(Phase::prefill, 17);
    PlanEdit(plan).unfuse_all();
    if (how) spoil(plan, stage, std::move(how));
    return check_token0(tiny.engine, tiny.engine.pool(), plan, tokens);
  };
  for (const CheckCase& one : check(Stage::pv, nullptr)) EXPECT_FALSE(one.deviation) << one.label;

  // Head 2 lets a later position in.
  const std::vector<CheckCase> unmasked =
      check(Stage::softmax, [](const KernelArgs& args) { args.out.row(2)[5] = 0x1p-20f; });
  ASSERT_TRUE(unmasked[0].deviation);
  EXPECT_EQ(unmasked[0].deviation->layer, 1);
  EXPECT_EQ(unmasked[0].deviation->element, 2 * 17 + 5);
  EXPECT_EQ(unmasked[0].deviation->phase, "prefill");

  // Head 1 takes kv head 1's value in the place of kv head 0's (4 heads of 16, 2 kv heads).
  const std::vector<CheckCase> swapped = check(
      Stage::pv, [](const KernelArgs& args) { std::copy_n(args.out.row(0) + 48, 16, args.out.row(0) + 16); });
  EXPECT_FALSE(swapped[0].deviation);
  ASSERT_TRUE(swapped[1].deviation);
  EXPECT_EQ(swapped[1].deviation->element, 16);
}

/// Runs 5 tokens on a runner poisoned with `value`.
Snapshot poisoned(test::TinyEngine& tiny, const Plan& plan, float value) {
  const std::vector<int32_t> tokens = test::random_tokens(5);
  Snapshot snapshot;
  Runner runner(tiny.engine, tiny.engine.pool(), 5);
  runner.forward(plan, tokens);  // makes the buffers
  runner.recycle();
  runner.poison(value);
  runner.forward(plan, tokens, snapshot);
  runner.read(snapshot);
  return snapshot;
}

TEST(Runner, PoisonShowsASlotTooFar) {
  test::TinyEngine tiny(TensorType::q4_1);
  Plan plan = tiny.engine.plan(Phase::prefill, 5);
  EXPECT_FALSE(first_deviation(poisoned(tiny, plan, 0), poisoned(tiny, plan, 6e4f)));
  spoil(plan, Stage::pv, [](const KernelArgs& args) {
    args.out.row(4)[0] += read_cache(args.cache, args.position + args.block_rows + 1).back();
  });
  const std::optional<Deviation> found = first_deviation(poisoned(tiny, plan, 0), poisoned(tiny, plan, 6e4f));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->what, "logits");  // layer 1 is the last one
  EXPECT_EQ(found->position, 4);
  const std::optional<Deviation> nan =
      first_not_finite(poisoned(tiny, plan, std::numeric_limits<float>::quiet_NaN()));
  ASSERT_TRUE(nan);
  EXPECT_EQ(nan->what, "logits");
}

TEST(Runner, PoisonShowsAnOutputThatNobodyWrote) {
  test::TinyEngine tiny(TensorType::q4_1);
  Plan plan = tiny.engine.plan(Phase::prefill, 5);
  class Nothing final : public Action {
    std::string label() const override { return "nothing"; }
    void run(const KernelArgs&, Part) override {}
  };
  {
    PlanEdit edit(plan);
    edit.replace(*edit.find({0, Stage::act}), std::make_shared<Nothing>());
  }
  const std::optional<Deviation> found = first_deviation(poisoned(tiny, plan, 0), poisoned(tiny, plan, 1));
  ASSERT_TRUE(found);
  EXPECT_EQ(found->layer, 1);
  EXPECT_EQ(found->position, 0);
}

}  // namespace
}  // namespace greta
