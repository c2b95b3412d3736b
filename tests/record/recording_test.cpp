// A record that several cells share is one thing: one hash, one summary, one place for its data.

#include "record/recording.h"

#include <gmock/gmock.h>

#include "io/testing.h"

namespace greta {
namespace {

using ::testing::ElementsAre;
using testing::message_of;
using testing::read_file;
using ::testing::SizeIs;
using testing::TempDirectory;

const nlohmann::json kManifest{{"schema", kBundleSchema}, {"complete", false}};

Event event_of(Stage stage, int layer, std::vector<int64_t> shape) {
  Event event;
  event.phase = kPrefillLast;
  event.layer = layer;
  event.stage = name(stage);
  event.positions = {4, 4};
  event.shape = std::move(shape);
  return event;
}

/// A prefill that two experiments share, then each one's decode0, the second equal to the prefill.
Bundle record(Recording& recording) {
  const std::vector<std::string> both{"E0", "E1"};
  recording.begin_run("p", both);
  recording.write(event_of(Stage::q, 0, {1, 3}), {1, 2, 3});
  recording.write(event_of(Stage::q, 1, {1, 2}), {4, 5});
  recording.end_run();
  for (const std::string& experiment : both) {
    recording.begin_run("p", std::span(&experiment, 1));
    Event event = event_of(Stage::q, 0, {1, 3});
    event.phase = kDecode0;
    recording.write(std::move(event), {1, 2, experiment == "E0" ? 4.0f : 3.0f});
    recording.end_run();
  }
  return recording.complete();
}

std::vector<std::string> cells_of(const Bundle& bundle) {
  std::vector<std::string> cells;
  for (const Event& event : bundle.events) cells.push_back(event.cell);
  return cells;
}

TEST(Recording, ARecordBecomesAnEventOfEachOfItsCells) {
  Recording recording;
  recording.open(kManifest);
  const Bundle bundle = record(recording);
  EXPECT_THAT(cells_of(bundle), ElementsAre("E0/p", "E1/p", "E0/p", "E1/p", "E0/p", "E1/p"));
  EXPECT_EQ(bundle.events[1].experiment, "E1");
  EXPECT_EQ(bundle.events[1].prompt_id, "p");
  EXPECT_EQ(bundle.events[0].hash, bundle.events[1].hash);
  EXPECT_EQ(bundle.events[1].summary.max, 3);
  EXPECT_EQ(bundle.manifest.at("complete"), true);
}

TEST(Recording, EqualDataAreHeldOnce) {
  Recording recording;
  recording.open(kManifest);
  const Bundle bundle = record(recording);
  EXPECT_THAT(bundle.tensors, SizeIs(3));
  EXPECT_EQ(bundle.data(bundle.events[0]), bundle.data(bundle.events[1]));
  EXPECT_EQ(bundle.data(bundle.events[0]), bundle.data(bundle.events[5]));
  EXPECT_THAT(*bundle.data(bundle.events[4]), ElementsAre(1, 2, 4));
}

TEST(Recording, WhatIsOnDiskIsWhatIsInMemory) {
  TempDirectory temp;
  Recording recording(Keep::all);
  recording.open(kManifest, temp / "b");
  const Bundle bundle = record(recording), read = read_bundle(temp / "b");
  EXPECT_EQ(read.manifest, bundle.manifest);
  ASSERT_EQ(read.events.size(), bundle.events.size());
  for (size_t i = 0; i < read.events.size(); ++i) {
    EXPECT_EQ(to_json(read.events[i]), to_json(bundle.events[i]));
    EXPECT_EQ(*read.data(read.events[i]), *bundle.data(bundle.events[i]));
  }
  EXPECT_EQ(bundle.events[1].tensor, "E0/p/prefill_last/L0.q");  // of the first cell that has it
}

TEST(Recording, KeepsTheFirstTracedLayerOrNothing) {
  for (const Keep keep : {Keep::none, Keep::first}) {
    TempDirectory temp;
    Recording recording(keep, 1);
    recording.open(kManifest, temp / "b");
    const Bundle bundle = record(recording), read = read_bundle(temp / "b");
    EXPECT_EQ(read.data(read.events[0]), nullptr);
    EXPECT_EQ(read.data(read.events[2]) != nullptr, keep == Keep::first);
    EXPECT_THAT(*bundle.data(bundle.events[0]), ElementsAre(1, 2, 3));  // in memory whatever is kept
  }
}

TEST(Recording, LinesAreOnDiskBeforeTheRunEnds) {
  TempDirectory temp;
  Recording recording(Keep::all);
  recording.open(kManifest, temp / "b");
  const std::vector<std::string> cells{"E0", "E1"};
  recording.begin_run("p", cells);
  recording.write(event_of(Stage::q, 0, {1, 1}), {7});
  const Bundle read = read_bundle(temp / "b");
  EXPECT_THAT(cells_of(read), ElementsAre("E0/p", "E1/p"));
  EXPECT_EQ(read.data(read.events[0]), nullptr);
}

TEST(Recording, AShapeThatDoesNotFitIsOurError) {
  Recording recording;
  recording.open(kManifest);
  message_of([&] { recording.write(event_of(Stage::q, 0, {1, 2}), {1, 2, 3}); }, ErrorKind::machine);
}

}  // namespace
}  // namespace greta
