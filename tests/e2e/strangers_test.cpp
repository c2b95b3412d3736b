// Bytes of strangers: every string of a model file and of a bundle in turn holds what steers a terminal. What
// the program prints and writes about it holds none of it.

#include "e2e/strangers.h"

#include <set>

#include "e2e/program.h"

namespace greta {
namespace {

using test::kHostile;
using test::kHostileText;
using test::run_greta;
using test::Scratch;
using ::testing::HasSubstr;

class Strangers : public ::testing::Test {
 protected:
  /// Runs the program and looks at all that comes out. True when some of it was escaped.
  bool check(const std::vector<std::string>& arguments, const std::string& what,
             const std::string& directory = "") {
    const test::Outcome outcome = run_greta(arguments);
    const std::string where = what + ", greta " + arguments.front();
    test::expect_clean(outcome.out, where + ", stdout");
    test::expect_clean(outcome.err, where + ", stderr");
    EXPECT_THAT(outcome.exit_code, ::testing::AnyOf(0, 1, 2, 4)) << where << ": " << outcome.err;
    if (outcome.exit_code == 2) {
      EXPECT_EQ(std::count(outcome.err.begin(), outcome.err.end(), '\n'), 1) << outcome.err;
    }
    const bool json = std::find(arguments.begin(), arguments.end(), "--json") != arguments.end();
    if (json && !outcome.out.empty()) {
      EXPECT_TRUE(nlohmann::json::accept(outcome.out)) << where << outcome.out;
    }
    bool escaped = holds_escape(outcome.out) || holds_escape(outcome.err);
    if (!directory.empty()) escaped |= check_files(directory, where);
    seen_ += escaped;
    return escaped;
  }

  static bool holds_escape(const std::string& text) {
    return text.find("\\x1b") != std::string::npos || text.find("\\u001b") != std::string::npos;
  }

  static bool check_files(const std::string& directory, const std::string& where) {
    if (!test::fs::exists(directory)) return false;
    bool escaped = false;
    for (const auto& entry : test::fs::directory_iterator(directory)) {
      const std::string extension = entry.path().extension();
      if (extension == ".safetensors" || extension == ".tgz" || extension == ".cbor") continue;
      const std::string text = test::read_file(entry.path());
      test::expect_clean(text, where + ", " + entry.path().filename().string());
      if (extension == ".md" || extension == ".txt") test::expect_tables_whole(text, where);
      EXPECT_TRUE(extension != ".json" || nlohmann::json::accept(text)) << where;
      escaped |= holds_escape(text);
    }
    test::fs::remove_all(directory);
    return escaped;
  }

  Scratch scratch_;
  int seen_ = 0;  // outputs in which something was escaped
};

TEST_F(Strangers, InAModelFile) {
  const test::HeaderStrings strings(test::speaking_llama());
  const std::string model = scratch_ / "model.gguf", out = scratch_ / "out";
  int ran = 0;
  for (const auto& place : strings.places()) {
    for (const std::string& text : {kHostile, strings.text(place) + kHostile}) {
      const std::string what = "for '" + strings.text(place) + "'";
      test::write_file(model, strings.with(place, text));
      check({"info", "-m", model}, what);
      check({"info", "-m", model, "--json"}, what);
      check({"tokenize", "-m", model, "aab"}, what);
      check({"tokenize", "-m", model, "--decode", "0 1 260 27 155"}, what);
      check({"tokenize", "-m", model, "--decode", "--json", "0 1 260 27 155"}, what);
      check({"plan", "-m", model}, what);
      if (run_greta({"plan", "-m", model, "--json"}).exit_code != 0) continue;
      ++ran;
      check({"run", "-m", model, "-p", "aab", "-n", "4"}, what);
      check({"isolate", "-m", model, "--threads", "1", "--experiments", "E0,E1", "--out", out}, what, out);
    }
  }
  EXPECT_GE(strings.places().size(), 35U);
  EXPECT_GE(ran, 4);  // the model's name, texts of tokens, ...
  EXPECT_GE(seen_, 200);
}

TEST_F(Strangers, InWhatAModelSays) {
  const std::string model = scratch_ / "model.gguf";
  test::write_file(model, test::speaking_llama().build());
  for (int seed = 0; seed < 5; ++seed)  // random weights: any byte
    check({"run", "-m", model, "-p", "a", "-n", "200", "--temp", "50", "--seed", std::to_string(seed)},
          "seed " + std::to_string(seed));
  EXPECT_GE(seen_, 1);
  // ñ in two tokens, a line break, ESC.
  EXPECT_EQ(run_greta({"tokenize", "-m", model, "--decode", "195 177 10 27"}).out, "ñ\n\\x1b\n");
  EXPECT_THAT(run_greta({"tokenize", "-m", model, "--decode", "--json", "195 177 10 27"}).out,
              HasSubstr("ñ\\n\\u001b"));
}

TEST_F(Strangers, InPathsAndArguments) {
  const std::string model = scratch_ / ("m" + kHostile + ".gguf"), out = scratch_ / ("out" + kHostile);
  check({"info", "-m", scratch_ / kHostile}, "a missing file");
  check({"diagnose", scratch_ / kHostile, "-m", model}, "a missing bundle");
  check({"compare", kHostile, kHostile}, "missing bundles");
  test::write_file(model, test::speaking_llama().build());
  check({"info", "-m", model}, "a file's name");
  check({"info", "-m", model, "--json"}, "a file's name");
  check({"isolate", "-m", model, "--threads", "1", "--experiments", "E0,E1", "--out", out}, "paths", out);
  check({"isolate", "-m", model, "--threads", "1", "--experiments", "E0,E1", "--json", "--out", out}, "paths",
        out);
  check({"whatif", "-m", model, "--devices", "sim:h100", "--out", out}, "paths", out);
  EXPECT_EQ(seen_, 8);
  for (const std::vector<std::string>& usage : std::vector<std::vector<std::string>>{
           {kHostile}, {"info", "--" + kHostile}, {"plan", "-m", "x", "--rows", kHostile}}) {
    const test::Outcome outcome = run_greta(usage);
    EXPECT_EQ(outcome.exit_code, 2);
    test::expect_clean(outcome.err, "usage");
  }
}

class StrangersBundle : public Strangers {
 protected:
  void SetUp() override {
    test::write_file(model_, test::speaking_llama().build());
    const test::Outcome outcome = run_greta(
        {"isolate", "-m", model_, "--threads", "1", "--prompts", "p0_short", "--experiments", "E0,E1",
         "--inject", "wq_column_major@prefill,S>1", "--no-interventions", "--out", clean_});
    ASSERT_EQ(outcome.exit_code, 1) << outcome.err;
    manifest_ = nlohmann::json::parse(test::read_file(clean_ + "/manifest.json"));
    std::istringstream lines(test::read_file(clean_ + "/events.jsonl"));
    for (std::string line; std::getline(lines, line);) events_.push_back(nlohmann::json::parse(line));
    test::fs::copy(clean_, bundle_);
  }

  /// Writes the bundle; `raw` in the place of the mark gives bytes that JSON does not allow.
  void write(const nlohmann::json& manifest, const std::vector<nlohmann::json>& events,
             const std::string& raw = "") {
    std::string head = manifest.dump(), lines;
    for (const nlohmann::json& event : events) lines += event.dump() + "\n";
    for (std::string* text : {&head, &lines}) {
      for (size_t at = 0; !raw.empty() && (at = text->find(kMark, at)) != std::string::npos;)
        text->replace(at, kMark.size(), raw);
    }
    test::write_file(bundle_ + "/manifest.json", head);
    test::write_file(bundle_ + "/events.jsonl", lines);
  }

  void judge(const std::string& what) {
    const std::string out = scratch_ / "out";
    check({"diagnose", bundle_, "-m", model_}, what);
    check({"diagnose", bundle_, "-m", model_, "--force", "--out", out}, what, out);
    check({"diagnose", bundle_, "-m", model_, "--force", "--json"}, what);
    check({"compare", bundle_, clean_, "--force"}, what);
    check({"compare", bundle_, clean_, "-m", model_, "--force", "--json"}, what);
  }

  const std::string kMark = "MARK";
  const std::string model_ = scratch_ / "model.gguf", clean_ = scratch_ / "clean",
                    bundle_ = scratch_ / "bundle";
  nlohmann::json manifest_;
  std::vector<nlohmann::json> events_;
};

TEST_F(StrangersBundle, InItsManifest) {
  std::set<std::string> seen;
  const nlohmann::json flat = manifest_.flatten();  // items() refers to it
  for (const auto& [pointer, value] : flat.items()) {
    const size_t leaf = pointer.rfind('/');
    const std::string name = pointer.starts_with("/kernels/") ? "/kernels" + pointer.substr(leaf) : pointer;
    if (!value.is_string() || !seen.insert(name).second) continue;  // of all kernels one "op", ...
    nlohmann::json manifest = manifest_;
    manifest[nlohmann::json::json_pointer(pointer)] = value.get<std::string>() + kHostileText;
    write(manifest, events_);
    judge("manifest's " + pointer);
  }
  EXPECT_GE(seen.size(), 20U);
  nlohmann::json manifest = manifest_;
  manifest[kHostileText] = kHostileText;
  manifest["kernels"][kHostileText] = {{"op", kHostileText}};
  write(manifest, events_);
  judge("manifest's keys");
  manifest = manifest_;
  manifest["engine"] = kMark;
  write(manifest, events_, kHostile);
  judge("manifest's bytes");
  EXPECT_GE(seen_, 20);
}

TEST_F(StrangersBundle, InItsEvents) {
  for (const char* field : {"cell", "experiment", "prompt_id", "phase", "stage", "dtype", "route", "kernel",
                            "hash", "file", "tensor"}) {
    for (const bool all : {false, true}) {
      std::vector<nlohmann::json> events = events_;
      for (nlohmann::json& event : events) {
        if (event.contains(field)) event[field] = event[field].get<std::string>() + kHostileText;
        if (!all) break;
      }
      write(manifest_, events);
      judge(std::string("events' ") + field);
    }
    std::vector<nlohmann::json> events = events_;
    events[0][field] = kMark;
    write(manifest_, events, kHostile);
    judge(std::string("events' bytes in ") + field);
  }
  EXPECT_GE(seen_, 40);  // bytes that JSON does not allow are refused, not shown
}

TEST_F(StrangersBundle, InItsTensorFile) {
  write(manifest_, events_);
  for (const auto& entry : test::fs::directory_iterator(bundle_)) {
    if (entry.path().extension() != ".safetensors") continue;
    const std::string bytes = test::read_file(entry.path());
    uint64_t size = 0;
    std::memcpy(&size, bytes.data(), 8);
    const std::string header = bytes.substr(8, size), data = bytes.substr(8 + size);
    for (const std::string part : {"F32", "dtype", "E0", "data_offsets"}) {
      for (const std::string& text : {nlohmann::json(part + kHostileText).dump(), "\"" + kHostile + "\""}) {
        std::string changed = header;
        changed.replace(changed.find("\"" + part) + 1, part.size(), text.substr(1, text.size() - 2));
        changed.resize((changed.size() + 7) / 8 * 8, ' ');
        test::write_file(entry.path(), test::raw<uint64_t>(changed.size()) + changed + data);
        judge("tensors' " + part);
      }
    }
    break;
  }
  EXPECT_GE(seen_, 5);
}

}  // namespace
}  // namespace greta
