#include "bundle/bundle.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/hash.h"
#include "bundle/decode0_row.h"
#include "io/archive.h"
#include "io/file_size_limit.h"
#include "io/testing.h"

namespace greta {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::FileSizeLimit;
using ::testing::HasSubstr;
using testing::message_of;
using testing::read_file;
using testing::TempDirectory;
using testing::write_file;

Event event_of(const std::string& stage, int64_t size, const std::string& phase = kDecode0) {
  Event event;
  event.cell = "E0/p";
  event.experiment = "E0";
  event.prompt_id = "p";
  event.phase = phase;
  event.layer = 0;
  event.stage = stage;
  event.positions = {4, 4};
  event.shape = {1, size};
  return event;
}

const nlohmann::json kManifest{{"engine", "greta"}, {"complete", true}};
const std::vector<float> kData{1, 2, 3, 4};

void write_two_runs(const std::string& directory) {
  BundleWriter writer(directory, false, kManifest);
  writer.write(event_of("q", 4, kPrefillLast), kData, true);
  writer.write(event_of("k", 2, kPrefillLast), std::vector<float>{5, -6}, true);
  writer.end_run();
  writer.write(event_of("q", 4), kData, true);  // equal to prefill's
  writer.write(event_of("k", 2), std::vector<float>{5, -7}, true);
  writer.write(event_of("v", 1), std::vector<float>{9}, false);
  writer.end_run();
}

TEST(Bundle, ReadsBackWhatWasWritten) {
  TempDirectory temp;
  write_two_runs(temp / "b");
  const Bundle bundle = read_bundle(temp / "b");
  EXPECT_THAT(bundle.notes, ElementsAre());
  EXPECT_EQ(bundle.manifest.at("schema"), "greta.trace/1");
  ASSERT_EQ(bundle.events.size(), 5u);
  EXPECT_EQ(*bundle.data(bundle.events[0]), kData);
  EXPECT_EQ(bundle.events[0].hash, hash_floats(kData).hex());
  EXPECT_EQ(bundle.events[0].tensor, "E0/p/prefill_last/L0.q");
  EXPECT_EQ(bundle.events[3].summary.min, -7);
  EXPECT_THAT(*bundle.data(bundle.events[3]), ElementsAre(5, -7));
  EXPECT_EQ(bundle.data(bundle.events[4]), nullptr);
  EXPECT_EQ(bundle.events[4].file, "");
}

TEST(Bundle, EqualDataAreStoredOnce) {
  TempDirectory temp;
  write_two_runs(temp / "b");
  const Bundle bundle = read_bundle(temp / "b");
  EXPECT_EQ(bundle.tensors.size(), 3u);
  EXPECT_EQ(bundle.events[2].tensor, bundle.events[0].tensor);
  EXPECT_EQ(bundle.events[2].file, "tensors-0000.safetensors");
  EXPECT_EQ(bundle.events[3].file, "tensors-0001.safetensors");
}

/// A safetensors file with one tensor.
std::string tensor_file(const std::string& name, const std::string& dtype, int64_t count,
                        const std::string& bytes) {
  const std::string header =
      nlohmann::json{{name, {{"dtype", dtype}, {"shape", {count}}, {"data_offsets", {0, bytes.size()}}}}}
          .dump();
  std::string size(8, '\0');
  size[0] = static_cast<char>(header.size());
  return size + header + bytes;
}

TEST(Bundle, EqualBytesOfOtherTypesAreOtherNumbers) {
  TempDirectory temp;
  const std::string bytes("\0\0\xc0\x3f\0\0\xc0\x3f", 8), zeros(8, '\0');
  const struct {
    std::string phase, dtype, bytes;
    std::vector<float> values;
  } cases[] = {{"a", "I16", bytes, {0, 16320, 0, 16320}},
               {"b", "F32", bytes, {1.5f, 1.5f}},
               {"c", "F16", bytes, {0, 1.9375f, 0, 1.9375f}},
               {"d", "F32", bytes, {1.5f, 1.5f}},
               {"e", "F16", zeros, {0, 0, 0, 0}},
               {"f", "BF16", zeros, {0, 0, 0, 0}}};
  fs::create_directory(temp / "b");
  write_file(temp / "b/manifest.json",
             R"({"schema": "greta.trace/1", "engine": "e", "prompts": [{"id": "p"}],)"
             R"( "experiments": [{"name": "E0"}]})");
  std::string events;
  for (const auto& each : cases) {
    const std::string file = "tensors-" + each.phase + ".safetensors";
    write_file(temp / ("b/" + file), tensor_file("t", each.dtype, std::ssize(each.values), each.bytes));
    events += nlohmann::json{{"experiment", "E0"},
                             {"prompt_id", "p"},
                             {"phase", each.phase},
                             {"layer", 0},
                             {"stage", "q"},
                             {"positions", {0}},
                             {"shape", {1, each.values.size()}},
                             {"dtype", "f32"},
                             {"file", file},
                             {"tensor", "t"}}
                  .dump() +
              "\n";
  }
  write_file(temp / "b/events.jsonl", events);
  const Bundle bundle = read_bundle(temp / "b");
  EXPECT_THAT(bundle.notes, ::testing::IsEmpty());
  ASSERT_EQ(bundle.events.size(), std::size(cases));
  for (size_t i = 0; i < std::size(cases); ++i) {
    ASSERT_NE(bundle.data(bundle.events[i]), nullptr) << cases[i].phase;
    EXPECT_EQ(*bundle.data(bundle.events[i]), cases[i].values) << cases[i].phase;
  }
  EXPECT_NE(bundle.events[0].hash, bundle.events[1].hash);
  EXPECT_EQ(bundle.events[1].hash, bundle.events[3].hash);
  EXPECT_EQ(bundle.events[4].hash, bundle.events[5].hash);
}

TEST(Bundle, KeysStayUniqueWhenAStageIsRecordedTwice) {
  TempDirectory temp;
  {
    BundleWriter writer(temp / "b", false, kManifest);
    writer.write(event_of("q", 1), std::vector<float>{1}, true);
    writer.write(event_of("q", 1), std::vector<float>{2}, true);
  }  // the destructor keeps what was recorded
  const Bundle bundle = read_bundle(temp / "b");
  EXPECT_EQ(bundle.events[1].tensor, "E0/p/decode0/L0.q#2");
  EXPECT_THAT(*bundle.data(bundle.events[1]), ElementsAre(2));
}

TEST(Bundle, EventsAreOnDiskAtOnce) {
  TempDirectory temp;
  BundleWriter writer(temp / "b", false, kManifest);
  writer.write(event_of("q", 4), kData, true);
  const Bundle bundle = read_bundle(temp / "b");  // as after a kill: no end_run
  ASSERT_EQ(bundle.events.size(), 1u);
  EXPECT_EQ(bundle.data(bundle.events[0]), nullptr);
  EXPECT_EQ(bundle.events[0].hash, hash_floats(kData).hex());
  EXPECT_THAT(bundle.notes,
              ElementsAre("tensors-0000.safetensors is missing: the data of 1 events were not kept"));
}

TEST(Bundle, ManifestIsReplacedWhole) {
  TempDirectory temp;
  BundleWriter writer(temp / "b", false, {{"engine", "greta"}, {"complete", false}});
  EXPECT_THAT(read_bundle(temp / "b").notes, ElementsAre(HasSubstr("did not finish")));
  writer.set_manifest(kManifest);
  EXPECT_THAT(read_bundle(temp / "b").notes, ElementsAre());
  EXPECT_FALSE(fs::exists(temp / "b/manifest.json.tmp"));
}

TEST(Bundle, BytesThatAreNoUtf8AreNoObstacle) {
  TempDirectory temp;
  {
    BundleWriter writer(temp / "b", false, {{"engine", "greta"}, {"command_line", "-p \xff\xfe"}});
    Event event = event_of("q", 4);
    event.prompt_id = "\xff";
    event.cell = "E0/\xff";
    writer.write(event, kData, true);
  }
  const Bundle bundle = read_bundle(temp / "b");
  EXPECT_EQ(*bundle.data(bundle.events.at(0)), kData);
}

TEST(BundleWriter, RefusesADirectoryThatExists) {
  TempDirectory temp;
  fs::create_directory(temp / "b");
  const auto open = [&](bool force) { BundleWriter(temp / "b", force, kManifest); };
  EXPECT_THAT(message_of([&] { open(false); }), HasSubstr("--force"));
  EXPECT_TRUE(fs::is_empty(temp / "b"));
  open(true);
  EXPECT_TRUE(fs::exists(temp / "b/events.jsonl"));
}

/// As an interrupt before the first event leaves it.
TEST(BundleWriter, ARunWithoutAnEventIsBegunAgain) {
  TempDirectory temp;
  { BundleWriter nothing(temp / "b", false, kManifest); }
  EXPECT_NO_THROW(write_two_runs(temp / "b"));
  EXPECT_THROW(write_two_runs(temp / "b"), Error);
}

TEST(BundleWriter, ForceRemovesOwnFilesOnly) {
  TempDirectory temp;
  write_two_runs(temp / "b");
  const std::vector<std::string> own{"verdict.json", "artifacts.tgz", "report.es.md",
                                     "tensors-0007.safetensors.tmp"};
  const std::vector<std::string> others{"notes.txt", "tensors-mine.safetensors",
                                        "tensors-0001.safetensors.bak", "report.md", "manifest.json.orig"};
  for (const std::string& name : own) write_file(temp / ("b/" + name), "old");
  for (const std::string& name : others) write_file(temp / ("b/" + name), "mine");
  fs::create_directory(temp / "b/tensors-0009.safetensors");  // even under our name, a directory is not ours
  BundleWriter writer(temp / "b", true, kManifest);
  EXPECT_EQ(read_bundle(temp / "b").events.size(), 0u);
  for (const std::string& name : own) EXPECT_FALSE(fs::exists(temp / ("b/" + name))) << name;
  for (const std::string& name : others) EXPECT_EQ(read_file(temp / ("b/" + name)), "mine") << name;
  EXPECT_TRUE(fs::is_directory(temp / "b/tensors-0009.safetensors"));
  EXPECT_FALSE(fs::exists(temp / "b/tensors-0000.safetensors"));
}

TEST(BundleWriter, ForceSparesSomeoneElsesManifest) {
  TempDirectory temp;
  fs::create_directory(temp / "site");
  write_file(temp / "site/manifest.json", R"({"name": "a web page"})");
  write_file(temp / "site/verdict.json", "{}");
  const std::string message = message_of([&] { BundleWriter(temp / "site", true, kManifest); });
  EXPECT_THAT(message, HasSubstr("no GRETA bundle"));
  EXPECT_EQ(read_file(temp / "site/manifest.json"), R"({"name": "a web page"})");
  EXPECT_TRUE(fs::exists(temp / "site/verdict.json"));
}

TEST(BundleWriter, AnImpossiblePathIsTheUsersError) {
  TempDirectory temp;
  write_file(temp / "file", "x");
  EXPECT_THAT(message_of([&] { BundleWriter(temp / "file", true, kManifest); }),
              HasSubstr("not a directory"));
  EXPECT_THAT(message_of([&] { BundleWriter(temp / "file/b", false, kManifest); }), HasSubstr("file/b"));
  EXPECT_THAT(message_of([&] { BundleWriter("/proc/greta-test", false, kManifest); }),
              HasSubstr("/proc/greta-test"));
  message_of([&] { BundleWriter("", false, kManifest); });
}

TEST(BundleWriter, AShapeThatDoesNotFitIsOurError) {
  TempDirectory temp;
  BundleWriter writer(temp / "b", false, kManifest);
  message_of([&] { writer.write(event_of("q", 5), kData, true); }, ErrorKind::machine);
}

TEST(BundleWriter, AFullDiskLeavesAReadableBundle) {
  TempDirectory temp;
  int written = 0;
  {
    BundleWriter writer(temp / "b", false, kManifest);
    const std::string message = message_of(
        [&] {
          const FileSizeLimit limit(2000);
          for (;; ++written) writer.write(event_of("q", 4), kData, false);
        },
        ErrorKind::machine);
    EXPECT_THAT(message, HasSubstr("events.jsonl"));
    EXPECT_THAT(message, HasSubstr("File too large"));
    EXPECT_THAT(message, HasSubstr("readable up to event " + std::to_string(written)));
    message_of([&] { writer.write(event_of("k", 4), kData, false); }, ErrorKind::machine);  // no holes
  }
  EXPECT_GT(written, 2);
  EXPECT_EQ(read_bundle(temp / "b").events.size(), static_cast<size_t>(written));
}

TEST(BundleWriter, NoSpaceForTensorsIsSaid) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "this system has no /dev/full";
  TempDirectory temp;
  {
    BundleWriter writer(temp / "b", false, kManifest);
    writer.write(event_of("q", 4), kData, true);
    fs::create_symlink("/dev/full", temp / "b/tensors-0000.safetensors.tmp");
    const std::string message = message_of([&] { writer.end_run(); }, ErrorKind::machine);
    EXPECT_THAT(message, HasSubstr("tensors-0000.safetensors.tmp: No space left on device"));
  }
  const Bundle bundle = read_bundle(temp / "b");
  EXPECT_EQ(bundle.events.size(), 1u);
  EXPECT_THAT(bundle.notes, ElementsAre(HasSubstr("tensors-0000.safetensors is missing")));
}

class DamagedBundle : public ::testing::Test {
 protected:
  void SetUp() override { write_two_runs(temp_ / "b"); }
  std::string refusal() {
    return message_of([&] { read_bundle(temp_ / "b"); });
  }
  void replace(const std::string& name, const std::string& from, const std::string& to) {
    std::string text = read_file(temp_ / ("b/" + name));
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    write_file(temp_ / ("b/" + name), text.replace(at, from.size(), to));
  }
  TempDirectory temp_;
};

TEST_F(DamagedBundle, NewerSchema) {
  replace("manifest.json", "greta.trace/1", "greta.trace/2");
  EXPECT_THAT(refusal(), HasSubstr("written in greta.trace/2; this GRETA reads greta.trace/1"));
}

TEST_F(DamagedBundle, AnotherSchema) {
  replace("manifest.json", "greta.trace/1", "greta.verdict/1");
  EXPECT_THAT(refusal(), HasSubstr("manifest.json: field \"schema\""));
}

TEST_F(DamagedBundle, NoManifest) {
  fs::remove(temp_ / "b/manifest.json");
  EXPECT_THAT(refusal(), HasSubstr("has no manifest.json"));
}

TEST_F(DamagedBundle, FieldOfTheWrongKind) {
  replace("events.jsonl", "\"layer\":0", "\"layer\":\"zero\"");
  EXPECT_THAT(refusal(), HasSubstr("events.jsonl:1: field \"layer\" must hold integers, found string"));
}

TEST_F(DamagedBundle, ManifestOfTheWrongKind) {
  const std::string good = read_file(temp_ / "b/manifest.json");
  const std::vector<std::pair<std::string, std::string>> mistakes{
      {R"("prompts": [{"id": 3}])", "manifest.json: prompts[0]: field \"id\" must be a string"},
      {R"("prompts": {"id": "p"})", "manifest.json: field \"prompts\" must be a list"},
      {R"("prompts": [{"id": "p", "tokens": [4294967296]}])", "field \"tokens\" is 4294967296"},
      {R"("experiments": [7])", "experiments[0]: expected a JSON object"},
      {R"("kernels": {"k": {"shape": 1}})", "kernels[k]: field \"shape\""},
      {R"("model": {"hash": 1})", "model: field \"hash\""},
      {R"("aligned": "yes")", "field \"aligned\" must be true or false"},
      {R"("decode0_row": "gone")",
       "field \"decode0_row\" is \"gone\"; known are zeros, other row, nan, freed"},
      {R"("prompts": [{"id": "p", "decode0_row": "gone"}])", "prompts[0]: field \"decode0_row\""},
      {R"("threads": 0)", "field \"threads\""}};
  for (const auto& [field, message] : mistakes) {
    write_file(temp_ / "b/manifest.json", good);
    replace("manifest.json", "\"complete\": true", field);
    EXPECT_THAT(refusal(), HasSubstr(message));
  }
}

TEST(Decode0RowOf, APromptsOwnGoesBeforeTheBundles) {
  const nlohmann::json manifest = {{"decode0_row", "freed"},
                                   {"prompts", {{{"id", "p"}, {"decode0_row", "other row"}}, {{"id", "q"}}}}};
  EXPECT_EQ(decode0_row(manifest, "p"), Decode0Row::other_row);
  EXPECT_EQ(decode0_row(manifest, "q"), Decode0Row::freed);
  EXPECT_EQ(decode0_row({{"engine", "e"}}, "q"), std::nullopt);
}

TEST_F(DamagedBundle, NullCountsAsAbsent) {
  replace("manifest.json", "\"complete\": true",
          R"("aligned": null, "model": {"name": null}, "prompts": null)");
  const Bundle bundle = read_bundle(temp_ / "b");
  EXPECT_FALSE(bundle.manifest.contains("aligned"));
  EXPECT_FALSE(bundle.manifest.at("model").contains("name"));
}

TEST_F(DamagedBundle, DataThatChanged) {
  std::string text = read_file(temp_ / "b/tensors-0000.safetensors");
  text.back() = static_cast<char>(text.back() ^ 1);
  write_file(temp_ / "b/tensors-0000.safetensors", text);
  EXPECT_THAT(refusal(), HasSubstr("damaged: its hash is"));
}

TEST_F(DamagedBundle, TensorOfAnotherSize) {
  replace("events.jsonl", "\"shape\":[1,4]", "\"shape\":[1,8]");
  EXPECT_THAT(refusal(), HasSubstr("has 4 values; the event's shape needs 8"));
}

TEST_F(DamagedBundle, TensorThatIsNotThere) {
  replace("events.jsonl", "prefill_last/L0.k", "prefill_last/L9.k");
  EXPECT_THAT(refusal(), HasSubstr("L9.k\": named by an event, but not in the file"));
}

TEST_F(DamagedBundle, EmptyTensorFile) {
  write_file(temp_ / "b/tensors-0000.safetensors", "");
  EXPECT_THAT(refusal(), HasSubstr("tensors-0000.safetensors: too short"));
}

TEST_F(DamagedBundle, EveryTruncationOfTheEventsIsReadable) {
  const std::string text = read_file(temp_ / "b/events.jsonl");
  for (size_t size = 0; size < text.size(); size += 7) {
    write_file(temp_ / "b/events.jsonl", text.substr(0, size));
    const auto whole = std::count(text.begin(), text.begin() + static_cast<int64_t>(size), '\n');
    const Bundle bundle = read_bundle(temp_ / "b");
    EXPECT_GE(bundle.events.size(), static_cast<size_t>(whole)) << size;
    EXPECT_LE(bundle.events.size(), static_cast<size_t>(whole) + 1) << size;
  }
}

TEST_F(DamagedBundle, EventWithNeitherHashNorDataIsLeftOut) {
  const std::string hash = hash_floats(std::vector<float>{5, -7}).hex();
  replace("events.jsonl", "\"hash\":\"" + hash + "\",", "");
  EXPECT_EQ(read_bundle(temp_ / "b").events.at(3).hash, hash);  // computed from the data
  fs::remove(temp_ / "b/tensors-0001.safetensors");
  const Bundle bundle = read_bundle(temp_ / "b");
  EXPECT_EQ(bundle.events.size(), 4u);
  EXPECT_THAT(bundle.notes.back(), HasSubstr("neither a hash nor data"));
}

TEST(ReadBundle, OtherThingsAreNoBundles) {
  TempDirectory temp;
  write_file(temp / "text.tgz", "not an archive");
  write_file(temp / "empty.tgz", "");
  fs::create_directory(temp / "dir");
  EXPECT_THAT(message_of([&] { read_bundle(temp / "nothing"); }), HasSubstr("nothing"));
  EXPECT_THAT(message_of([&] { read_bundle(temp / "text.tgz"); }), HasSubstr("text.tgz"));
  EXPECT_THAT(message_of([&] { read_bundle(temp / "empty.tgz"); }), HasSubstr("is empty"));
  EXPECT_THAT(message_of([&] { read_bundle(temp / "dir"); }), HasSubstr("has no manifest.json"));
}

std::vector<ArchiveMember> members_of(const std::string& directory, const std::string& prefix) {
  std::vector<ArchiveMember> members;
  for (const char* name :
       {"manifest.json", "events.jsonl", "tensors-0000.safetensors", "tensors-0001.safetensors"}) {
    members.push_back({prefix + name, directory + "/" + name});
  }
  return members;
}

TEST(Archive, ReadsLikeTheDirectory) {
  TempDirectory temp;
  write_two_runs(temp / "b");
  for (const char* prefix : {"", "run-7/", "./run-7/"}) {
    write_archive(temp / "b.tgz", members_of(temp / "b", prefix));
    const Bundle bundle = read_bundle(temp / "b.tgz");
    ASSERT_EQ(bundle.events.size(), 5u) << prefix;
    EXPECT_EQ(*bundle.data(bundle.events[0]), kData);
    EXPECT_THAT(bundle.notes, ElementsAre());
  }
}

TEST(Archive, EqualFilesGiveEqualBytes) {
  TempDirectory temp;
  write_two_runs(temp / "b");
  write_archive(temp / "1.tgz", members_of(temp / "b", "b/"));
  fs::last_write_time(temp / "b/manifest.json", fs::file_time_type{});
  write_archive(temp / "2.tgz", members_of(temp / "b", "b/"));
  EXPECT_EQ(read_file(temp / "1.tgz"), read_file(temp / "2.tgz"));
}

TEST(Archive, CutOffIsAnError) {
  TempDirectory temp;
  write_two_runs(temp / "b");
  write_archive(temp / "b.tgz", members_of(temp / "b", ""));
  const std::string text = read_file(temp / "b.tgz");
  for (const size_t size : {size_t{1}, size_t{20}, text.size() / 2, text.size() - 100}) {
    write_file(temp / "cut.tgz", text.substr(0, size));
    message_of([&] { read_bundle(temp / "cut.tgz"); });
  }
}

TEST(Archive, ABombIsStopped) {
  TempDirectory temp;
  write_file(temp / "zeros", "");
  fs::resize_file(temp / "zeros", size_t{100} << 20);  // sparse
  write_archive(temp / "bomb.tgz", std::vector<ArchiveMember>{{"manifest.json", temp / "zeros"}});
  EXPECT_LT(fs::file_size(temp / "bomb.tgz"), size_t{1} << 20);
  EXPECT_THAT(message_of([&] { read_bundle(temp / "bomb.tgz"); }), HasSubstr("inflates to more than"));
}

TEST(Archive, AFileTwiceIsAnError) {
  TempDirectory temp;
  write_two_runs(temp / "b");
  auto members = members_of(temp / "b", "");
  members.push_back(members[0]);
  write_archive(temp / "b.tgz", members);
  EXPECT_THAT(message_of([&] { read_bundle(temp / "b.tgz"); }), HasSubstr("manifest.json twice"));
}

TEST(Archive, NoSpaceIsSaid) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "this system has no /dev/full";
  TempDirectory temp;
  write_two_runs(temp / "b");
  fs::create_symlink("/dev/full", temp / "b.tgz.tmp");
  const std::string message =
      message_of([&] { write_archive(temp / "b.tgz", members_of(temp / "b", "")); }, ErrorKind::machine);
  EXPECT_THAT(message, HasSubstr("No space left on device"));
  EXPECT_FALSE(fs::exists(temp / "b.tgz"));
}

}  // namespace
}  // namespace greta
