// Bundles that another engine wrote: transformers on SmolLM2's own GGUF, clean and with bugs patched into its
// Python (tests/goldens/make_transformers.py), and bundles that are damaged or belong to another model.

#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "e2e/program.h"
#include "engine/tiny_model.h"
#include "model/model_files.h"

namespace greta {
namespace {

using test::run_greta;
using test::Scratch;
using testing::HasSubstr;

std::string golden_bundle(const std::string& name) {
  return std::string(GRETA_SOURCE_DIR) + "/tests/goldens/transformers/" + name + ".tgz";
}

class Diagnose : public ::testing::Test {
 protected:
  void SetUp() override {
    GRETA_SKIP_WITHOUT("smollm2");
    model_ = test::model_path("smollm2");
  }

  nlohmann::json verdict_of(const std::string& bundle, int exit_code) const {
    const test::Outcome outcome = run_greta({"diagnose", bundle, "-m", model_, "--json"});
    EXPECT_EQ(outcome.exit_code, exit_code) << outcome.err;
    return nlohmann::json::parse(outcome.out);
  }

  /// The clean bundle, unpacked.
  std::string unpacked(const Scratch& scratch) const {
    const std::string directory = scratch / "bundle";
    test::fs::create_directory(directory);
    const std::string line = "tar xzf '" + golden_bundle("clean") + "' -C '" + directory + "'";
    EXPECT_EQ(std::system(line.c_str()), 0);
    return directory;
  }

  void expect_refused(const std::string& bundle, const std::string& part) const {
    const test::Outcome outcome = run_greta({"diagnose", bundle, "-m", model_});
    EXPECT_EQ(outcome.exit_code, 2) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, HasSubstr(part));
  }

  std::string model_;
};

TEST_F(Diagnose, TransformersIsRoundingEverywhere) {
  const nlohmann::json verdict = verdict_of(golden_bundle("clean"), 0);
  EXPECT_EQ(verdict["verdict"], "ROUNDING");
  EXPECT_EQ(verdict["engine"], "transformers");
  EXPECT_EQ(verdict["coverage"]["percent"], 100.0);
  EXPECT_TRUE(verdict["findings"].empty());
}

TEST_F(Diagnose, BugsPatchedIntoTransformersAreNamed) {
  const auto expect = [&](const char* bundle, const std::vector<std::string>& stages,
                          const char* hypothesis) {
    const nlohmann::json verdict = verdict_of(golden_bundle(bundle), 1);
    ASSERT_EQ(verdict["findings"].size(), stages.size()) << bundle;
    for (size_t i = 0; i < stages.size(); ++i) {
      const nlohmann::json& finding = verdict["findings"][i];
      EXPECT_EQ(finding["stage"], stages[i]) << bundle;
      EXPECT_EQ(finding["phase"], "both") << bundle;
      EXPECT_EQ(finding["layer"], 0) << bundle;
      EXPECT_EQ(finding["hypothesis"], hypothesis) << bundle;
      EXPECT_GT(finding["explained_residual"].get<double>(), 0.999) << bundle;
    }
  };
  expect("rope_pairs_k", {"k_rope"}, "rope_style");
  expect("rope_halves_k", {"k_rope"}, "rope_style");
  expect("kv_head_tile", {"qk", "pv"}, "head_map");
  expect("norm_eps", {"attn_norm"}, "norm_eps");
  expect("wk_rows_of_gguf", {"k"}, "rope_row_order");
}

TEST_F(Diagnose, WritesReportsWhereAsked) {
  const Scratch scratch;
  const std::string out = scratch / "out";
  EXPECT_EQ(run_greta({"diagnose", golden_bundle("norm_eps"), "-m", model_, "--out", out}).exit_code, 1);
  EXPECT_THAT(test::read_file(out + "/report.en.md"), HasSubstr("1e-06, not 1e-05"));
  EXPECT_EQ(run_greta({"diagnose", golden_bundle("norm_eps"), "-m", model_, "--out", out}).exit_code, 2)
      << "what is there is not overwritten";
}

TEST_F(Diagnose, ABundleOfAnotherModelIsRefusedUnlessForced) {
  const Scratch scratch;
  const std::string bundle = unpacked(scratch);
  std::string manifest = test::read_file(bundle + "/manifest.json");
  const size_t hash = manifest.find("sha256:") + 7;
  manifest[hash] = manifest[hash] == '0' ? '1' : '0';
  test::write_file(bundle + "/manifest.json", manifest);
  expect_refused(bundle, "another model file");
  EXPECT_EQ(run_greta({"diagnose", bundle, "-m", model_, "--force"}).exit_code, 0);
  // A tiny model: even by force its shapes do not fit.
  test::write_file(scratch / "tiny.gguf", test::random_llama(TensorType::q8_0));
  const test::Outcome other = run_greta({"diagnose", bundle, "-m", scratch / "tiny.gguf", "--force"});
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("another model's trace?"));
}

TEST_F(Diagnose, DamagedBundlesAreRefusedInOneLine) {
  const Scratch scratch;
  const std::string bundle = unpacked(scratch);
  const std::string events = test::read_file(bundle + "/events.jsonl");
  test::write_file(bundle + "/events.jsonl", events.substr(0, events.size() - 40));
  expect_refused(bundle, "ends in the middle of line");
  const size_t second = events.find('\n') + 1;
  test::write_file(bundle + "/events.jsonl",
                   events.substr(0, second) + "{\"prompt_id\": 7}\n" + events.substr(second));
  expect_refused(bundle, "events.jsonl:2");
  test::write_file(bundle + "/events.jsonl", events);
  EXPECT_EQ(run_greta({"diagnose", bundle, "-m", model_}).exit_code, 0);
  for (const auto& entry : test::fs::directory_iterator(bundle)) {
    if (entry.path().extension() == ".safetensors") test::fs::remove(entry.path());
  }
  expect_refused(bundle, "safetensors");
  std::string manifest = test::read_file(bundle + "/manifest.json");
  manifest.replace(manifest.find("greta.trace/1"), 13, "greta.trace/2");
  test::write_file(bundle + "/manifest.json", manifest);
  expect_refused(bundle, "greta.trace/2");
}

/// A NaN in a stage whose inputs are finite is a finding that says where it is.
TEST_F(Diagnose, NanIsAFindingWithItsFirstPlace) {
  const Scratch scratch;
  const std::string bundle = unpacked(scratch);
  const std::string events = test::read_file(bundle + "/events.jsonl");
  std::string key, file, edited;
  int64_t columns = 0;
  std::istringstream lines(events);
  for (std::string line; std::getline(lines, line);) {
    nlohmann::json event = nlohmann::json::parse(line);
    if (event["stage"] == "ffn_norm" && event["phase"] == "prefill") {
      key = event["tensor"];
      file = event["file"];
      columns = event["shape"][1];
      event.erase("hash");
    }
    edited += event.dump() + "\n";
  }
  ASSERT_FALSE(key.empty());
  test::write_file(bundle + "/events.jsonl", edited);
  std::string tensors = test::read_file(bundle + "/" + file);
  uint64_t header_size = 0;
  std::memcpy(&header_size, tensors.data(), 8);
  const nlohmann::json header = nlohmann::json::parse(tensors.substr(8, header_size));
  const size_t at = 8 + header_size + header[key]["data_offsets"][0].get<size_t>();
  const float nan = std::nanf("");
  std::memcpy(tensors.data() + at + static_cast<size_t>(columns + 17) * 4, &nan, 4);  // row 1, element 17
  test::write_file(bundle + "/" + file, tensors);
  const nlohmann::json verdict = verdict_of(bundle, 1);
  const nlohmann::json& finding = verdict["findings"][0];
  EXPECT_EQ(finding["stage"], "ffn_norm");
  EXPECT_EQ(finding["hypothesis"], "non_finite");
  EXPECT_THAT(finding["title"].get<std::string>(), HasSubstr("position 1, element 17"));
}

}  // namespace
}  // namespace greta
