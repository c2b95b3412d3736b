// A run judged in parts and merged is the whole run: byte for byte but for time and paths.

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <regex>

#include "e2e/program.h"
#include "io/archive.h"
#include "judge/part.h"
#include "model/model_files.h"

namespace greta {
namespace {

using test::run_greta;
using testing::HasSubstr;
using Words = std::vector<std::string>;

Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

/// A file's text without when, how long and where.
std::string without_time_and_paths(std::string text, const test::Scratch& scratch) {
  const std::string folder = scratch / "";
  for (size_t at; (at = text.find(folder)) != std::string::npos;) text.erase(at, folder.size());
  text = std::regex_replace(text, std::regex(R"(\b(whole|merged)\b)"), "DIR");
  text = std::regex_replace(text, std::regex(R"(\d{4}-\d\d-\d\dT[\d:]*Z)"), "TIME");
  text = std::regex_replace(text, std::regex(R"("seconds": [\d.e-]+)"), "SECONDS");
  return std::regex_replace(text, std::regex(R"(\b[\d.]+ s\b)"), "SECONDS");
}

void expect_merge_equals_whole(const Words& command, int parts, int exit_code, const test::Scratch& scratch,
                               int missing = 0) {
  ASSERT_EQ(run_greta(command + Words{"--out", scratch / "whole"}).exit_code, exit_code);
  Words merge = {"merge"};
  for (int i = 1; i <= parts; ++i) {
    if (i == missing) continue;
    const std::string directory = scratch / fmt::format("part-{}", i);
    const test::Outcome part =
        run_greta(command + Words{"--part", fmt::format("{}/{}", i, parts), "--out", directory});
    ASSERT_EQ(part.exit_code, 0) << part.err;
    EXPECT_THAT(part.out, HasSubstr(fmt::format("part {} of {}: ", i, parts)));
    merge.push_back(directory);
  }
  const test::Outcome merged = run_greta(merge + Words{"--out", scratch / "merged"});
  EXPECT_EQ(merged.exit_code, exit_code) << merged.err;
  if (missing != 0) {
    EXPECT_THAT(merged.err, HasSubstr(fmt::format("note: part {} of {} is missing", missing, parts)));
  }
  for (const auto& entry : test::fs::directory_iterator(scratch / "whole")) {
    const std::string name = entry.path().filename().string();
    const std::string other = (test::fs::path(scratch / "merged") / name).string();
    ASSERT_TRUE(test::fs::exists(other)) << name;
    if (name.ends_with(".tgz") || name.ends_with(".cbor") || name == "manifest.json") continue;  // hold times
    const std::string a = test::read_file(entry.path().string()), b = test::read_file(other);
    const bool equal = name.starts_with("tensors-")
                           ? a == b
                           : without_time_and_paths(a, scratch) == without_time_and_paths(b, scratch);
    EXPECT_TRUE(equal) << name;
  }
}

class Parts : public ::testing::Test {
 protected:
  void SetUp() override {
    model_ = scratch_ / "model.gguf";
    const auto files = read_archive(GRETA_SOURCE_DIR "/tests/goldens/architectures/llama.tgz",
                                    [](const std::string& name) { return name == "model.gguf"; });
    const std::vector<std::byte>& bytes = files.at("model.gguf");
    test::write_file(model_, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  Words isolate(const Words& more = {}) const {
    return Words{"isolate",       "-m",    model_,      "--seed",        "5",
                 "--experiments", "E0,E4", "--prompts", "p0_short,p5_ba"} +
           more;
  }
  test::Scratch scratch_;
  std::string model_;
};

TEST_F(Parts, OfTheMatrix) { expect_merge_equals_whole(isolate(), 3, 0, scratch_); }

TEST_F(Parts, OfTheMatrixWithAFault) {
  expect_merge_equals_whole(isolate({"--inject", "wq_column_major@prefill,S>1"}), 3, 1, scratch_);
}

TEST_F(Parts, ThatAreMissingAreJudgedByTheMerge) { expect_merge_equals_whole(isolate(), 3, 0, scratch_, 2); }

TEST_F(Parts, MoreThanThereAreStages) {
  expect_merge_equals_whole(isolate({"--layers", "0"}), 40, 0, scratch_);
}

TEST_F(Parts, OfDifferentRunsAreRefused) {
  const auto part = [&](const Words& command, const std::string& name) {
    ASSERT_EQ(run_greta(command + Words{"--part", "1/2", "--out", scratch_ / name}).exit_code, 0);
  };
  part(isolate(), "a");
  part(isolate({"--layers", "0"}), "b");
  const auto refused = [&](const Words& parts, const std::string& why) {
    const test::Outcome outcome = run_greta(Words{"merge"} + parts + Words{"--out", scratch_ / "merged"});
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_THAT(outcome.err, HasSubstr(why));
    EXPECT_FALSE(test::fs::exists(scratch_ / "merged"));
  };
  refused({scratch_ / "a", scratch_ / "b"}, "are no parts of one run");
  refused({scratch_ / "none"}, "holds no part");
  EXPECT_THAT(run_greta(Words{"merge", scratch_ / "a", "--out", scratch_ / "a", "--force"}).err,
              HasSubstr("is one of the parts"));
  EXPECT_EQ(read_part(scratch_ / "a").part.number, 1);
  test::write_file((test::fs::path(scratch_ / "b") / "part.cbor").string(), "no part");
  refused({scratch_ / "b"}, "part.cbor: not valid CBOR");
  const JudgedPart hostile{{1, 1}, {"capture", "--", "touch", scratch_ / "made"}, "m", {}};
  test::write_file((test::fs::path(scratch_ / "b") / "part.cbor").string(), stored_part(hostile));
  refused({scratch_ / "b"}, "is no part of isolate or diagnose, but of \"capture\"");
  EXPECT_FALSE(test::fs::exists(scratch_ / "made"));
}

/// A bundle whose kernels declare nothing: inferred alike, and the parts do not each judge the whole. (An
/// arithmetic that was tried by other operands is a judgement of its own.)
TEST_F(Parts, OfUndeclaredArithmetic) {
  const std::string cases = std::string(GRETA_SOURCE_DIR) + "/tests/goldens/cases/",
                    bundle = scratch_ / "bundle";
  test::fs::create_directory(bundle);
  for (const auto& [name, bytes] :
       read_archive(cases + "hf_bf16_clean_t.tgz", [](const auto&) { return true; })) {
    std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (name.ends_with("manifest.json")) {
      nlohmann::json manifest = nlohmann::json::parse(text);
      manifest.erase("kernels");
      text = manifest.dump();
    }
    test::write_file((test::fs::path(bundle) / test::fs::path(name).filename()).string(), text);
  }
  const Words command = {"diagnose", bundle, "-m", cases + "models/c-llama.gguf"};
  expect_merge_equals_whole(command, 3, 0, scratch_);
  EXPECT_THAT(test::read_file(scratch_ / "merged/report.en.md"),
              HasSubstr("Inferred, since nothing was declared"));
  size_t judged = 0;
  for (int i = 1; i <= 3; ++i) judged += read_part(scratch_ / fmt::format("part-{}", i)).judgements.size();
  const nlohmann::json verdict = nlohmann::json::parse(test::read_file(scratch_ / "merged/verdict.json"));
  const size_t recorded = verdict["coverage"]["recorded"];
  EXPECT_GE(judged, recorded);
  EXPECT_LT(judged, 2 * recorded);
}

TEST_F(Parts, NeedASeedAndADirectory) {
  const test::Outcome seedless =
      run_greta({"isolate", "-m", model_, "--part", "1/2", "--out", scratch_ / "out"});
  EXPECT_EQ(seedless.exit_code, 2);
  EXPECT_THAT(seedless.err, HasSubstr("--part 1/2 needs --seed N"));
  const test::Outcome nowhere = run_greta(isolate({"--part", "1/2"}));
  EXPECT_EQ(nowhere.exit_code, 2);
  EXPECT_THAT(nowhere.err, HasSubstr("--part 1/2 needs --out DIR"));
}

class PartsSmolLM2 : public Parts {
 protected:
  void SetUp() override {
    GRETA_SKIP_WITHOUT("smollm2");
    model_ = test::model_path("smollm2");
  }
  /// Another engine's, whose arithmetic is inferred: each part infers for itself.
  Words diagnose(const std::string& name) const {
    return {"diagnose", std::string(GRETA_SOURCE_DIR) + "/tests/goldens/transformers/" + name + ".tgz", "-m",
            model_};
  }
};

TEST_F(PartsSmolLM2, OfAForeignBundle) { expect_merge_equals_whole(diagnose("clean"), 8, 0, scratch_); }

TEST_F(PartsSmolLM2, OfAForeignBundleWithAFault) {
  for (const auto& entry :
       test::fs::directory_iterator(std::string(GRETA_SOURCE_DIR) + "/tests/goldens/transformers")) {
    const std::string name = entry.path().stem().string();
    if (entry.path().extension() != ".tgz" || name == "clean") continue;
    const test::Scratch scratch;
    expect_merge_equals_whole(diagnose(name), 8, 1, scratch);
    break;
  }
}

TEST_F(PartsSmolLM2, OfItsDefaultMatrix) {
  expect_merge_equals_whole({"isolate", "-m", model_, "--seed", "5"}, 3, 0, scratch_);
}

}  // namespace
}  // namespace greta
