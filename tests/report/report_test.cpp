#include "report/report.h"

#include <algorithm>
#include <cctype>
#include <limits>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>

#include "bundle/bundle.h"
#include "io/testing.h"
#include "report/phrases.h"
#include "report/sample_verdict.h"
#include "verdict/verdict.h"

namespace greta::report {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<Verdict> all_samples() {
  Verdict equal = clean_verdict();
  equal.status = RunStatus::equal;
  return {clean_verdict(),   fault_verdict(), unaligned_verdict(), inert_verdict(),
          vacuous_verdict(), equal,           diagnosed_verdict(), unpaired_verdict()};
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

size_t code_points(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

/// Another engine's recording: nobody forced a route, so none is shown, nor attested.
TEST(Terminal, OfARecordingWithoutRoutesShowsErrorsAgainstTheOracle) {
  Verdict verdict = empty_verdict();
  Cell cell;
  cell.key = {"E0", "p"};
  cell.attested = true;
  cell.max_noise_ratio = 0.25;
  verdict.cells = {cell};
  const std::string text = terminal(verdict, false);
  EXPECT_THAT(text, HasSubstr("Largest error against the oracle in units of its bound"));
  EXPECT_THAT(text, Not(HasSubstr("Q MAE")));
  EXPECT_THAT(text, Not(HasSubstr("Attested")));
  EXPECT_THAT(markdown(verdict, Language::english), Not(HasSubstr("What really ran")));
}

TEST(B331Table, HasTheColumnsAndFormatOfB331) {
  const std::vector<std::string> lines = lines_of(to_markdown({b3_31_table(fault_verdict())}));
  ASSERT_EQ(lines.size(), 12u);
  EXPECT_EQ(lines[0], "| exp | prompt | Q MAE | K MAE | V MAE | Q/K/V route | force_route | force_gemm |");
  EXPECT_EQ(lines[1], "|---|---|---:|---:|---:|---|---|---|");
  EXPECT_EQ(lines[2], "| E0 | p0_short | 0.00000e+00 | 0.00000e+00 | 0.00000e+00 | MFMA | auto | false |");
  EXPECT_EQ(lines[5], "| E1 | p4_sys | 5.37518e-01 | 2.68759e-01 | 2.68759e-03 | VALU | valu | false |");
  EXPECT_EQ(lines[9], "| E3 | p4_sys | 5.37518e-01 | 2.68759e-01 | 2.68759e-03 | MFMA | mfma | true |");
}

TEST(B331Table, ShowsWhatRanNotWhatWasAskedFor) {
  Verdict verdict = inert_verdict();
  Cell& cell = verdict.cells[5];  // E2/p4_sys
  cell.q.route = "matrix";
  cell.k.route = cell.v.route = "vector";
  EXPECT_THAT(to_markdown({b3_31_table(verdict)}), HasSubstr("| MFMA/VALU/VALU | mfma | false |"));
  cell.q.route = cell.k.route = cell.v.route = "";
  EXPECT_THAT(to_markdown({b3_31_table(verdict)}), HasSubstr("| - | mfma | false |"));
}

TEST(B331Analysis, OfAFaultConcludesAsB331Did) {
  const std::string text = b3_31_analysis(fault_verdict());
  EXPECT_THAT(text,
              AllOf(HasSubstr("Decode Q/K/V Projection Route Isolation"), HasSubstr("| E4 | p4_sys |"),
                    HasSubstr("Verdict: FAULT"), HasSubstr("does not depend on the route"),
                    HasSubstr("does not depend on forced GEMM"),
                    HasSubstr("the kernel's route in decode is not the cause"),
                    HasSubstr("First fault: layer 0, stage q, phase prefill."),
                    HasSubstr("layers 0-1, stage q, phase prefill:"), HasSubstr("p0_short could not show it"),
                    HasSubstr("row- or column-major"), HasSubstr("wq_column_major@prefill")));
}

TEST(B331Analysis, OfACleanEngineNamesTheContrast) {
  const std::string text = b3_31_analysis(clean_verdict());
  EXPECT_THAT(text,
              AllOf(HasSubstr("Equal bit for bit: E0, E2, E3."), HasSubstr("Within rounding: E1, E4."),
                    HasSubstr("depends on the route (matrix or vector) of decode's Q, K and V: it changes by "
                              "up to 100 %"),
                    HasSubstr("That is rounding"), HasSubstr("does not depend on forced GEMM"),
                    HasSubstr("what was forced is what ran"), HasSubstr("p0_short has one token"),
                    HasSubstr("both phases share")));
  EXPECT_THAT(text, Not(HasSubstr("route is not the cause")));
}

TEST(Conclusion, SaysWhyItCannotVouch) {
  EXPECT_THAT(
      b3_31_analysis(unaligned_verdict()),
      AllOf(HasSubstr("not comparable"), HasSubstr("Not judged: 30 stages, decode0 is the next token"),
            HasSubstr("GRETA_TRACE_STAGE_DEBUG_INPUT=1"), Not(HasSubstr("depends on the route")),
            Not(HasSubstr("most likely next token"))));
  EXPECT_THAT(b3_31_analysis(inert_verdict()),
              AllOf(HasSubstr("INERT_FACTOR in E2/p4_sys: L0 q was forced to matrix but ran vector"),
                    HasSubstr("Attested in 9 of 10 cells only; not in E2/p4_sys"),
                    HasSubstr("do not isolate anything")));
  EXPECT_THAT(b3_31_analysis(vacuous_verdict()), HasSubstr("agreement here proves nothing"));
}

TEST(UntestedWrites, AreToldWhateverTheVerdict) {
  for (Verdict verdict : {clean_verdict(), diagnosed_verdict()}) {
    verdict.untested_writes = {{{"E0", "p4_sys"}, 2, 30}, {{"E1", "p4_sys"}, 7, 30}};
    const std::string text = terminal(verdict, false);
    EXPECT_THAT(text, HasSubstr("Not tested: whether decode0 writes its row of the cache. In E0/p4_sys,"));
    EXPECT_THAT(markdown(verdict, Language::english), HasSubstr("(in up to 7 of 30 layers)"));
    EXPECT_THAT(markdown(verdict, Language::spanish), HasSubstr("Sin probar: si decode0"));
    EXPECT_EQ(to_json(verdict).at("untested_writes").at(1).at("layers"), 7);
  }
  EXPECT_THAT(terminal(clean_verdict(), false), Not(HasSubstr("Not tested")));
}

TEST(Conclusion, ExplainsEqualFiguresOfPromptsThatEndAlike) {
  Verdict verdict = clean_verdict();
  for (StagePair& pair : verdict.pairs) pair.hash_prefill = pair.hash_decode = name(pair.cell);
  EXPECT_THAT(b3_31_analysis(verdict), Not(HasSubstr("end in the same token")));
  for (StagePair& pair : verdict.pairs) pair.hash_prefill = pair.hash_decode = std::string("h");
  EXPECT_THAT(b3_31_analysis(verdict), HasSubstr("p0_short, p4_sys have the same Q, K and V in layer 0"));
}

TEST(Conclusion, ListsCellsAsAProduct) {
  EXPECT_THAT(b3_31_analysis(fault_verdict()), HasSubstr("Seen in E0, E1, E2, E3, E4 x p4_sys."));
}

TEST(Conclusion, NamesAKnownCause) {
  Verdict verdict = fault_verdict();
  for (Finding& finding : verdict.findings) {
    finding.cause = Cause::named;
    finding.best = "weight_column_major";
    finding.title.en = "Wq is read column-major";
    finding.title.es = "Wq se lee por columnas";
    finding.explained_residual = 0.99999;
  }
  EXPECT_THAT(
      markdown(verdict, Language::english),
      AllOf(HasSubstr("Wq is read column-major (hypothesis weight_column_major, explained residual 0.99999)"),
            HasSubstr("Mend this first: Wq is read column-major (layers 0-1, stage q, phase prefill)")));
  EXPECT_THAT(markdown(verdict, Language::spanish), HasSubstr("Wq se lee por columnas"));
}

TEST(Markdown, HasTheSameSectionsInBothLanguages) {
  const std::vector<std::pair<std::string, std::string>> sections{{"Summary", "Resumen"},
                                                                  {"Method", "Método"},
                                                                  {"Results", "Resultados"},
                                                                  {"Conclusion", "Conclusión"},
                                                                  {"Next step", "Próximo paso"}};
  for (const Verdict& verdict : all_samples()) {
    const std::string english = markdown(verdict, Language::english),
                      spanish = markdown(verdict, Language::spanish);
    size_t at = 0, donde = 0;
    for (const auto& [en, es] : sections) {
      at = english.find("\n## " + en + "\n", at);
      donde = spanish.find("\n## " + es + "\n", donde);
      EXPECT_NE(at, std::string::npos) << en;
      EXPECT_NE(donde, std::string::npos) << es;
    }
    const auto shape = [](const std::string& text) {  // headings, list items, table rows
      std::string marks;
      for (const std::string& line : lines_of(text)) {
        const bool prose = !line.empty() && std::isalpha(static_cast<unsigned char>(line[0])) != 0;
        marks += line.empty() ? ' ' : (prose ? 'p' : line[0]);
      }
      return marks;
    };
    EXPECT_EQ(shape(english), shape(spanish));
  }
}

TEST(Markdown, TablesAreWellFormed) {
  Verdict verdict = fault_verdict();
  verdict.cells[0].q.kernel = "a|b\nc";
  size_t columns = 0;
  for (const std::string& line : lines_of(markdown(verdict, Language::english))) {
    size_t bars = 0;  // those that end a cell
    for (size_t i = 0; i < line.size(); ++i) bars += line[i] == '|' && (i == 0 || line[i - 1] != '\\');
    if (line.empty() || line[0] != '|') {
      columns = 0;
      continue;
    }
    EXPECT_TRUE(columns == 0 || bars == columns) << line;
    columns = bars;
  }
}

TEST(Phrases, TakeTheSameValuesInBothLanguages) {
  const std::regex field(R"(\{\d\})");
  for (int i = 0; i < static_cast<int>(Phrase::count_); ++i) {
    const auto fields = [&](Language language) {
      const std::string text(phrase(static_cast<Phrase>(i), language));
      EXPECT_FALSE(text.empty()) << i;
      std::set<std::string> found;
      for (std::sregex_iterator it(text.begin(), text.end(), field), end; it != end; ++it)
        found.insert(it->str());
      return found;
    };
    EXPECT_EQ(fields(Language::english), fields(Language::spanish))
        << phrase(static_cast<Phrase>(i), Language::english);
  }
}

TEST(Terminal, FitsEightyColumns) {
  std::vector<Verdict> samples = all_samples();
  Verdict wide = fault_verdict();
  wide.model_name = std::string(60, 'm') + " " + std::string(60, 'n');
  wide.cells[0].key.prompt = "a_prompt_with_a_very_long_name.txt";
  wide.cells[1].key.prompt = "Año_nuevo_en_el_Río";
  wide.cells[2].q.mae = std::numeric_limits<double>::infinity();
  wide.cells[3].k.route = "vector";
  wide.cells[4].verdict = RunStatus::inconclusive;
  for (int i = 0; i < 20; ++i) {
    wide.flags.push_back({FlagKind::inert_factor,
                          {"E2", "p4_sys"},
                          "a reason that goes on and on, over more than one line, as it is"});
  }
  samples.push_back(wide);
  for (const Verdict& verdict : samples) {
    for (const std::string& line : lines_of(terminal(verdict, false)))
      EXPECT_LE(code_points(line), 80u) << line;
  }
}

TEST(Terminal, ColourIsOnlyAddedOnRequest) {
  const std::regex escape("\x1b\\[[0-9;]*m");
  for (const Verdict& verdict : all_samples()) {
    const std::string plain = terminal(verdict, false), coloured = terminal(verdict, true);
    EXPECT_EQ(plain.find('\x1b'), std::string::npos);
    EXPECT_NE(coloured.find('\x1b'), std::string::npos);
    EXPECT_EQ(std::regex_replace(coloured, escape, ""), plain);
  }
}

TEST(Terminal, SaysWhatMatters) {
  Verdict verdict = fault_verdict();
  verdict.directory = "out/run-7";
  EXPECT_THAT(
      terminal(verdict, false),
      AllOf(HasSubstr("SmolLM2 135M Instruct on cpu (avx512), 2 threads"), HasSubstr("\nFAULT: "),
            HasSubstr("5.4e-01"), HasSubstr("layers 0-1, stage q, phase prefill"), HasSubstr("1.23e+04"),
            HasSubstr("100.0 % of the recorded stages judged"), HasSubstr("out/run-7")));
}

TEST(VerdictJson, HasTheFieldsThatScriptsRelyOn) {
  Verdict verdict = fault_verdict();
  verdict.flags.push_back({FlagKind::inert_factor, {"E2", "p4_sys"}, "because"});
  const nlohmann::json json = to_json(verdict);
  EXPECT_EQ(json.at("schema"), "greta.verdict/1");
  EXPECT_EQ(json.at("verdict"), "FAULT");
  EXPECT_EQ(json.at("exit_code"), 1);
  EXPECT_EQ(json.at("flags").at(0),
            (nlohmann::json{{"flag", "INERT_FACTOR"}, {"cell", "E2/p4_sys"}, {"why", "because"}}));
  for (const char* field : {"percent", "judged", "recorded", "skipped"})
    EXPECT_TRUE(json.at("coverage").contains(field));
  EXPECT_EQ(json.at("coverage").at("percent"), 100.0);
  const nlohmann::json& finding = json.at("findings").at(0);
  for (const char* field : {"phase", "layer", "stage", "cells", "hypothesis", "title", "explained_residual",
                            "runner_up", "noise_ratio", "intervention", "best_hypothesis",
                            "hypothesis_noise_ratio", "ruled_out", "pattern", "pattern_es", "gap"}) {
    EXPECT_TRUE(finding.contains(field)) << field;
  }
  EXPECT_EQ(finding.at("stage"), "q");
  const nlohmann::json& cell = json.at("cells").at(9);
  for (const char* field :
       {"experiment", "prompt", "verdict", "q_mae", "k_mae", "v_mae", "q_route", "k_route", "v_route",
        "q_kernel", "force_route", "force_gemm", "attested", "logits_top1_agree", "paired", "attn_norm_mae",
        "attn_norm_hash_prefill", "attn_norm_hash_decode"}) {
    EXPECT_TRUE(cell.contains(field)) << field;
  }
  EXPECT_EQ(cell.at("q_route"), "vector");
  EXPECT_EQ(cell.at("force_gemm"), true);
  EXPECT_EQ(cell.at("logits_top1_agree"), true);
}

TEST(VerdictJson, HoldsAllThatSpeaksForACause) {
  const nlohmann::json json = to_json(diagnosed_verdict()).at("findings").at(0);
  EXPECT_EQ(json.at("intervention"), (nlohmann::json{{"what", "oracle's q in prefill"},
                                                     {"mismatch_removed", true},
                                                     {"mismatch_before", 0.96},
                                                     {"mismatch_after", 0.0021},
                                                     {"logits_before", 0.37},
                                                     {"logits_after", 0.11},
                                                     {"prompt", "p4_sys"}}));
  EXPECT_EQ(json.at("hypothesis_noise_ratio"), 0.8);
  EXPECT_EQ(json.at("ruled_out").at(1),
            (nlohmann::json{{"hypothesis", "swapped_weight"}, {"explained_residual", 0.4}}));
  EXPECT_EQ(json.at("pattern"), "heads 2 of 9");
  EXPECT_EQ(json.at("pattern_es"), "cabezas 2 de 9");
  EXPECT_EQ(json.at("gap"), nlohmann::json::array());
  EXPECT_EQ(to_json(fault_verdict()).at("findings").at(0).at("intervention"), nullptr);
  Verdict gap = diagnosed_verdict();
  gap.findings[0].gap = {Stage::attn_norm};
  EXPECT_EQ(to_json(gap).at("findings").at(0).at("gap"), nlohmann::json{"attn_norm"});
}

TEST(VerdictJson, ListsTheFirstDifferenceAndTheFirstFaultOfEachCell) {
  Verdict verdict = clean_verdict();
  verdict.pairs.clear();
  for (const PairStatus status : {PairStatus::equal, PairStatus::rounding, PairStatus::rounding,
                                  PairStatus::fault, PairStatus::fault}) {
    StagePair pair;
    pair.cell = {"E0", "p"};
    pair.status = status;
    pair.layer = static_cast<int>(verdict.pairs.size());
    verdict.pairs.push_back(pair);
  }
  const nlohmann::json differences = to_json(verdict).at("differences");
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].at("layer"), 1);
  EXPECT_EQ(differences[1].at("layer"), 3);
}

TEST(VerdictJson, InfinityStaysVisible) {
  Verdict verdict = clean_verdict();
  verdict.cells[0].q.mae = std::numeric_limits<double>::infinity();
  EXPECT_EQ(to_json(verdict).at("cells").at(0).at("q_mae"), "inf");
}

class WriteFiles : public ::testing::Test {
 protected:
  void SetUp() override {
    BundleWriter writer(temp_ / "run-7", false, {{"engine", "greta"}});
    Event event;
    event.cell = "E0/p4_sys";
    event.experiment = "E0";
    event.prompt_id = "p4_sys";
    event.phase = kDecode0;
    event.layer = 0;
    event.stage = "q";
    event.positions = {1, 1};
    event.shape = {1, 2};
    writer.write(event, std::vector<float>{1, 2}, true);
  }
  testing::TempDirectory temp_;
};

TEST_F(WriteFiles, LeavesReportsAndAnArchiveThatReadsAsTheBundle) {
  testing::write_file(temp_ / "run-7/private.txt", "not ours");
  write_files(fault_verdict(), temp_ / "run-7", true);
  for (const char* name : {"verdict.json", "b3_31_analysis.txt", "report.html", "report.en.md",
                           "report.es.md", "artifacts.tgz"}) {
    EXPECT_GT(fs::file_size(temp_ / (std::string("run-7/") + name)), 100u) << name;
  }
  EXPECT_EQ(nlohmann::json::parse(testing::read_file(temp_ / "run-7/verdict.json")).at("verdict"), "FAULT");
  const Bundle bundle = read_bundle(temp_ / "run-7/artifacts.tgz");
  ASSERT_EQ(bundle.events.size(), 1u);
  EXPECT_THAT(*bundle.data(bundle.events[0]), ::testing::ElementsAre(1, 2));

  fs::create_directory(temp_ / "unpacked");
  ASSERT_EQ(std::system(
                ("tar -C '" + temp_ / "unpacked" + "' -xzf '" + temp_ / "run-7/artifacts.tgz" + "'").c_str()),
            0);
  EXPECT_EQ(testing::read_file(temp_ / "unpacked/run-7/report.es.md"),
            testing::read_file(temp_ / "run-7/report.es.md"));
  EXPECT_FALSE(fs::exists(temp_ / "unpacked/run-7/private.txt"));
}

TEST_F(WriteFiles, ArchiveOfABundleWithoutEventsIsReadable) {
  { BundleWriter writer(temp_ / "none", false, {{"engine", "greta"}}); }
  write_files(vacuous_verdict(), temp_ / "none", true);
  EXPECT_EQ(read_bundle(temp_ / "none/artifacts.tgz").events.size(), 0u);
}

TEST_F(WriteFiles, SecondTimeGivesTheSameArchive) {
  write_files(fault_verdict(), temp_ / "run-7", true);
  const std::string first = testing::read_file(temp_ / "run-7/artifacts.tgz");
  write_files(fault_verdict(), temp_ / "run-7", true);
  EXPECT_EQ(testing::read_file(temp_ / "run-7/artifacts.tgz"), first);
}

TEST_F(WriteFiles, LeavesNoArchiveOfAnEarlierRun) {
  write_files(fault_verdict(), temp_ / "run-7", true);
  write_files(fault_verdict(), temp_ / "run-7");
  EXPECT_FALSE(fs::exists(temp_ / "run-7/artifacts.tgz"));
}

TEST_F(WriteFiles, AreToldWithTheirSize) {
  Verdict verdict = fault_verdict();
  verdict.directory = temp_ / "run-7";
  write_files(verdict, verdict.directory);
  EXPECT_THAT(terminal(verdict, false),
              AllOf(HasSubstr(" kB in all; open report.html"), Not(HasSubstr("artifacts.tgz"))));
  write_files(verdict, verdict.directory, true);
  EXPECT_THAT(terminal(verdict, false), HasSubstr("artifacts.tgz"));
}

TEST_F(WriteFiles, SaysWhatItCannotWrite) {
  const auto write = [&](const std::string& directory) {
    return testing::message_of([&] { write_files(fault_verdict(), directory); }, ErrorKind::machine);
  };
  EXPECT_THAT(write(temp_ / "nowhere"), HasSubstr("nowhere/report.html"));
  testing::write_file(temp_ / "file", "x");
  EXPECT_THAT(write(temp_ / "file"), HasSubstr("file/report.html"));
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "this system has no /dev/full";
  fs::create_symlink("/dev/full", temp_ / "run-7/report.es.md.tmp");
  EXPECT_THAT(write(temp_ / "run-7"), AllOf(HasSubstr("report.es.md"), HasSubstr("No space left on device")));
}

}  // namespace
}  // namespace greta::report
