// The experiment matrix on the tiny model: what is run, recorded and shared.

#include "record/matrix.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "engine/tiny_model.h"
#include "io/testing.h"

namespace greta {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;
using ::testing::SizeIs;
using testing::TempDirectory;

MatrixRequest request_of(const std::string& experiments = "E0,E1,E2,E3,E4") {
  MatrixRequest request;
  request.experiments = parse_experiments(experiments);
  request.prompts = {{"one", "", {5}}, {"many", "", test::random_tokens(21)}};
  request.layers = {0, 1};
  return request;
}

std::vector<const Event*> events_of(const Bundle& bundle, const std::string& cell, const std::string& phase) {
  std::vector<const Event*> events;
  for (const Event& event : bundle.events) {
    if (event.cell == cell && event.phase == phase) events.push_back(&event);
  }
  return events;
}

const Event& find(const Bundle& bundle, const std::string& cell, const std::string& phase, Stage stage,
                  int layer) {
  for (const Event* event : events_of(bundle, cell, phase)) {
    if (event->stage == name(stage) && event->layer == layer) return *event;
  }
  throw std::runtime_error("not recorded: " + cell + " " + phase + " " + std::string(name(stage)));
}

TEST(Matrix, EveryCellHasAllStagesOfItsThreePhases) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Bundle bundle = record_matrix(tiny.engine, request_of());
  for (const Experiment& experiment : experiments()) {
    for (const std::string prompt : {"one", "many"}) {
      const std::string cell = experiment.name + "/" + prompt;
      EXPECT_EQ(events_of(bundle, cell, kPrefillLast).size(), 2u * 19 + 2) << cell;
      EXPECT_EQ(events_of(bundle, cell, kDecode0).size(), 2u * 20 + 2) << cell;
      EXPECT_EQ(events_of(bundle, cell, kPrefill).size(), 2u * 18) << cell;  // up to down
    }
  }
}

TEST(Matrix, OfSomeStagesTheyHaveTheSameDataAsOfAll) {
  test::TinyEngine tiny(TensorType::q4_1);
  MatrixRequest request = request_of("E0");
  const Bundle all = record_matrix(tiny.engine, request);
  request.layers = {1};
  request.stages = {Stage::attn_out, Stage::kv_write, Stage::logits};
  const Bundle some = record_matrix(tiny.engine, request);
  EXPECT_EQ(events_of(some, "E0/many", kPrefillLast).size(), 3u);
  EXPECT_EQ(events_of(some, "E0/many", kPrefill).size(), 2u);
  for (const Event& event : some.events) {
    if (event.stage == kKvNext) continue;
    const Event& same = find(all, event.cell, event.phase, stage_from_name(event.stage).value(), event.layer);
    EXPECT_EQ(*some.data(event), *all.data(same)) << event.cell << ' ' << event.phase << ' ' << event.stage;
  }
}

TEST(Matrix, APrefillIsRunOnceForAllExperiments) {
  test::TinyEngine tiny(TensorType::q4_1);
  std::vector<std::string> steps;
  const Bundle bundle =
      record_matrix(tiny.engine, request_of("E0,E1"),
                    {.progress = [&](int, int, const std::string& label) { steps.push_back(label); }});
  EXPECT_THAT(steps,
              ElementsAre("prefill one", "E0/one", "E1/one", "prefill many", "E0/many", "E1/many", "done"));
  const std::vector<const Event*> e0 = events_of(bundle, "E0/many", kPrefill),
                                  e1 = events_of(bundle, "E1/many", kPrefill);
  ASSERT_EQ(e0.size(), e1.size());
  for (size_t i = 0; i < e0.size(); ++i) EXPECT_EQ(bundle.data(*e0[i]), bundle.data(*e1[i]));  // one memory
  // A record's events stand together, in the order of the experiments.
  EXPECT_EQ(bundle.events[0].cell, "E0/one");
  EXPECT_EQ(bundle.events[1].cell, "E1/one");
  EXPECT_EQ(bundle.events[0].stage, bundle.events[1].stage);
}

TEST(Matrix, ForcesDecodeAndNothingElse) {
  test::TinyEngine tiny(TensorType::q4_1);
  const Bundle bundle = record_matrix(tiny.engine, request_of());
  for (const Stage stage : {Stage::q, Stage::k, Stage::v}) {
    EXPECT_EQ(find(bundle, "E1/many", kPrefillLast, stage, 0).route, "matrix");
    EXPECT_EQ(find(bundle, "E1/many", kDecode0, stage, 0).route, "vector");
    EXPECT_THAT(find(bundle, "E3/many", kDecode0, stage, 0).kernel, HasSubstr(".gemm."));
    EXPECT_THAT(find(bundle, "E2/many", kDecode0, stage, 0).kernel, HasSubstr(".gemv."));
  }
  EXPECT_EQ(find(bundle, "E1/many", kDecode0, Stage::gate, 0).route, "matrix");
}

TEST(Matrix, Decode0IsTheLastPromptTokenUnlessAskedOtherwise) {
  test::TinyEngine tiny(TensorType::q4_1);
  MatrixRequest request = request_of("E0");
  const Bundle aligned = record_matrix(tiny.engine, request);
  EXPECT_THAT(find(aligned, "E0/many", kDecode0, Stage::q, 0).positions, ElementsAre(20, 20));
  EXPECT_EQ(find(aligned, "E0/many", kDecode0, Stage::q, 0).hash,
            find(aligned, "E0/many", kPrefillLast, Stage::q, 0).hash);
  EXPECT_EQ(aligned.manifest.at("aligned"), true);
  request.aligned = false;
  const Bundle next = record_matrix(tiny.engine, request);
  EXPECT_THAT(find(next, "E0/many", kDecode0, Stage::q, 0).positions, ElementsAre(21, 21));
  EXPECT_EQ(next.manifest.at("aligned"), false);
}

/// Of the slots that decode0 finds free, the one after its own is recorded.
TEST(Matrix, Decode0sSlotHoldsZerosOrAnotherRow) {
  test::TinyEngine tiny(TensorType::q4_1);
  MatrixRequest request = request_of("E0,E2");
  request.prompts.push_back({"more", "", test::random_tokens(16)});
  const Bundle bundle = record_matrix(tiny.engine, request);
  const auto next_slot = [&](const std::string& cell) {
    for (const Event* event : events_of(bundle, cell, kDecode0)) {
      if (event->stage == kKvNext && event->layer == 1) return *bundle.data(*event);
    }
    return std::vector<float>{};
  };
  for (const std::string zeros : {"one", "more"}) {
    EXPECT_EQ(decode0_row(bundle.manifest, zeros), Decode0Row::zeros);
    EXPECT_THAT(next_slot("E2/" + zeros), AllOf(SizeIs(64), Each(0.0f)));
  }
  EXPECT_EQ(decode0_row(bundle.manifest, "many"), Decode0Row::other_row);
  std::vector<float> first = *bundle.data(find(bundle, "E0/many", kPrefillLast, Stage::kv_write, 1));
  first.resize(64);
  EXPECT_EQ(next_slot("E2/many"), first);
}

TEST(Matrix, BlocksOfAPrefillLeaveTheSameLastRow) {
  test::TinyEngine tiny(TensorType::q4_1);
  MatrixRequest request = request_of("E0");
  const Bundle whole = record_matrix(tiny.engine, request);
  request.prefill_block = 8;
  const Bundle cut = record_matrix(tiny.engine, request);
  for (const Stage stage : {Stage::kv_write, Stage::x_out}) {
    EXPECT_EQ(find(cut, "E0/many", kPrefillLast, stage, 1).hash,
              find(whole, "E0/many", kPrefillLast, stage, 1).hash);
  }
  EXPECT_THAT(find(cut, "E0/many", kPrefill, Stage::q, 0).positions, ElementsAre(0, 20));  // of all blocks
}

TEST(Matrix, AChangeReachesEveryPlan) {
  test::TinyEngine tiny(TensorType::q4_1);
  MatrixRequest request = request_of("E0");
  std::multiset<std::string> plans;
  request.change.edit = [&](PlanEdit& edit) {
    plans.insert(std::string(name(edit.phase())) + (edit.logits() == kNoBuffer ? "" : " with logits"));
  };
  record_matrix(tiny.engine, request);
  EXPECT_THAT(plans, ElementsAre("decode with logits", "prefill", "prefill", "prefill with logits",
                                 "prefill with logits"));  // a block of 1, a block of 21
}

class FillWithOne final : public Action {
  std::string label() const override { return "fill with 1"; }
  void run(const KernelArgs& args, Part part) override {
    for (int64_t r = 0; part.index == 0 && r < args.out.rows; ++r)
      std::fill_n(args.out.row(r), args.out.cols, 1.0f);
  }
};

TEST(Matrix, RecordsSeeWhatAChangeOverwrites) {
  test::TinyEngine tiny(TensorType::q4_1);
  MatrixRequest request = request_of("E0");
  request.change.edit = [](PlanEdit& edit) {
    const Op& up = *edit.find({1, Stage::up});
    edit.after(up, {.layer = 1, .call = ActionCall{std::make_shared<FillWithOne>()}, .writes = up.writes});
  };
  const Bundle bundle = record_matrix(tiny.engine, request);
  for (const auto phase : {kPrefillLast, kPrefill, kDecode0})
    EXPECT_THAT(*bundle.data(find(bundle, "E0/many", phase, Stage::up, 1)), Each(1.0f));
}

TEST(Matrix, TheBundleOnDiskIsTheOneInMemory) {
  test::TinyEngine tiny(TensorType::q4_1);
  TempDirectory temp;
  const Bundle bundle =
      record_matrix(tiny.engine, request_of("E0,E1"),
                    {.directory = temp / "b", .origin = {.command_line = "greta", .injected = {"a bug"}}});
  const Bundle read = read_bundle(temp / "b");
  EXPECT_THAT(read.notes, IsEmpty());
  EXPECT_EQ(read.manifest, bundle.manifest);
  EXPECT_EQ(read.manifest.at("complete"), true);
  EXPECT_THAT(read.manifest.at("options").at("inject"), ElementsAre("a bug"));
  EXPECT_EQ(read.manifest.at("experiments").size(), 2u);
  EXPECT_EQ(read.manifest.at("prompts").at(1).at("tokens").size(), 21u);
  ASSERT_EQ(read.events.size(), bundle.events.size());
  for (size_t i = 0; i < read.events.size(); ++i) {
    EXPECT_EQ(to_json(read.events[i]), to_json(bundle.events[i]));
    EXPECT_EQ(*read.data(read.events[i]), *bundle.data(bundle.events[i]));
  }
}

TEST(Matrix, WhatCannotRunLeavesNoDirectory) {
  test::TinyEngine tiny(TensorType::q4_1);
  TempDirectory temp;
  const RecordOptions options{.directory = temp / "b"};
  MatrixRequest request = request_of();
  request.prompts[1].tokens = {};
  EXPECT_THAT(message_of([&] { record_matrix(tiny.engine, request, options); }),
              HasSubstr("many has no tokens"));
  request.prompts[1].tokens.resize(2000, 5);
  EXPECT_THAT(message_of([&] { record_matrix(tiny.engine, request, options); }), HasSubstr("2000 positions"));
  request = request_of();
  request.routes.add(parse_route_rule("q=vector/gemv"));
  EXPECT_THAT(message_of([&] { record_matrix(tiny.engine, request, options); }), HasSubstr("gemv"));
  EXPECT_FALSE(std::filesystem::exists(temp / "b"));
}

TEST(Matrix, ARunThatIsStoppedLeavesAReadableBundle) {
  test::TinyEngine tiny(TensorType::q4_1);
  TempDirectory temp;
  const auto stop = [](int done, int, const std::string&) {
    if (done == 2) fail_machine("stopped");
  };
  message_of([&] { record_matrix(tiny.engine, request_of(), {.directory = temp / "b", .progress = stop}); },
             ErrorKind::machine);
  const Bundle bundle = read_bundle(temp / "b");
  EXPECT_THAT(bundle.notes, Contains(HasSubstr("did not finish")));
  EXPECT_EQ(events_of(bundle, "E0/one", kDecode0).size(), 2u * 20 + 2);
  EXPECT_THAT(events_of(bundle, "E1/one", kDecode0), IsEmpty());
}

TEST(Matrix, InnerBlocksOfAPrefillAreRecordedToo) {
  test::TinyEngine tiny(TensorType::q4_1);
  MatrixRequest request = request_of("E0");
  request.prompts = {{"long", "", test::random_tokens(40)}};
  request.prefill_block = 16;
  const Bundle bundle = record_matrix(tiny.engine, request);
  const Event& q = find(bundle, "E0/long", kPrefill, Stage::q, 1);
  EXPECT_EQ(positions_of(q).size(), 40u);
  const Event& scores = find(bundle, "E0/long", kPrefill, Stage::qk, 1);
  EXPECT_EQ(scores.shape[0], 40);
  EXPECT_EQ(scores.shape[2], 40);
  request.prefill_block = 256;
  const Bundle at_once = record_matrix(tiny.engine, request);
  EXPECT_EQ(q.hash, find(at_once, "E0/long", kPrefill, Stage::q, 1).hash);
  EXPECT_EQ(scores.hash, find(at_once, "E0/long", kPrefill, Stage::qk, 1).hash);
}

TEST(DrawnRows, AreTheSameForASeedAndComeBesideTheFixedOnes) {
  const std::vector<int64_t> drawn = drawn_numbers(7, 3, 200);
  EXPECT_THAT(drawn, SizeIs(3));
  EXPECT_EQ(drawn, drawn_numbers(7, 3, 200));
  EXPECT_NE(drawn, drawn_numbers(8, 3, 200));
  EXPECT_THAT(drawn_numbers(7, 5, 3), ElementsAre(0, 1, 2));
  const std::vector<int64_t> fixed = judged_rows(Stage::gate, 200);
  const std::vector<int64_t> all = judged_rows(Stage::gate, 200, {.seed = 7, .count = 3});
  EXPECT_THAT(all, ::testing::IsSupersetOf(fixed));
  EXPECT_GT(all.size(), fixed.size());
  EXPECT_EQ(fixed, judged_rows(Stage::gate, 200, {}));
}

TEST(JudgedRows, AllOfAShortPromptThenEdges) {
  EXPECT_EQ(judged_rows(Stage::q, 64).size(), 64u);
  const std::vector<int64_t> rows = judged_rows(Stage::q, 200);
  EXPECT_THAT(rows, ::testing::IsSupersetOf({0, 1, 2, 15, 16, 17, 31, 32, 33, 96, 127, 128, 129, 198, 199}));
  EXPECT_LT(rows.size(), 40u);
  EXPECT_THAT(judged_rows(Stage::gate, 64), ElementsAre(0, 1, 2));
  EXPECT_THAT(judged_rows(Stage::gate, 2), ElementsAre(0, 1));
}

}  // namespace
}  // namespace greta
