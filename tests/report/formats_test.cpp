// The formats of CI systems, each against its documented grammar. (Beyond CI, JUnit was held against the
// xunit-plugin's junit-10.xsd, SARIF against the public 2.1.0 model; docs/reports.md says how.)

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <pugixml.hpp>
#include <regex>
#include <sstream>

#include "base/error.h"
#include "report/artifacts.h"
#include "report/format.h"
#include "report/page.h"
#include "sample_verdict.h"

namespace greta::report {
namespace {

const std::string kStranger = "a<b>&\"'\n::error::x%,:\x1b[31m\xe2\x80\xae";

Verdict stranger_verdict() {
  Verdict verdict = fault_verdict();
  verdict.model_name = verdict.bundle = kStranger;
  verdict.findings.front().title = {kStranger, kStranger};
  verdict.findings.front().best = kStranger;
  verdict.findings.front().cause = Cause::named;
  verdict.cells.front().key.prompt = verdict.pairs.front().cell.prompt = kStranger;
  verdict.pairs.back().status = PairStatus::missing;
  verdict.pairs.back().why = kStranger;
  verdict.flags = {{FlagKind::inert_factor, {"E1", "p4_sys"}, kStranger}};
  return verdict;
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

TEST(Formats, OfAnUnknownNameIsAnError) {
  const Verdict verdict = clean_verdict();
  EXPECT_THROW(in_format(verdict, "pdf"), Error);
  for (const std::string& name : format_names()) EXPECT_FALSE(in_format(verdict, name).empty()) << name;
}

TEST(Formats, JunitHasACasePerCellAndStage) {
  pugi::xml_document document;
  ASSERT_TRUE(document.load_string(in_format(stranger_verdict(), "junit").c_str()));
  const pugi::xml_node root = document.child("testsuites");
  int suites = 0, failed = 0, skipped = 0;
  for (const pugi::xml_node suite : root.children("testsuite")) {
    ++suites;
    int tests = 0;
    for (const pugi::xml_node test : suite.children("testcase")) {
      ++tests;
      EXPECT_STREQ(test.attribute("name").value(), "q");
      failed += test.child("failure") ? 1 : 0;
      skipped += test.child("skipped") ? 1 : 0;
    }
    EXPECT_EQ(suite.attribute("tests").as_int(), tests);
  }
  EXPECT_EQ(suites, 10);
  EXPECT_EQ(failed, 4);   // p4_sys of E0 to E3
  EXPECT_EQ(skipped, 1);  // E4's was not recorded: it is neither passed nor failed
}

/// SARIF 2.1.0, sections 3.13, 3.14, 3.18, 3.19, 3.27, 3.28, 3.29: what is required, and of what kind.
TEST(Formats, SarifHasWhatTheStandardRequires) {
  const nlohmann::json log = nlohmann::json::parse(in_format(stranger_verdict(), "sarif"));
  EXPECT_EQ(log.at("version"), "2.1.0");
  ASSERT_EQ(log.at("runs").size(), 1U);
  const nlohmann::json& run = log["runs"][0];
  EXPECT_TRUE(run.at("tool").at("driver").at("name").is_string());
  std::set<std::string> rules;
  for (const nlohmann::json& rule : run["tool"]["driver"]["rules"])
    EXPECT_TRUE(rules.insert(rule.at("id")).second);
  ASSERT_EQ(run.at("results").size(), 3U);  // two layers told apart by their cause, and a flag
  for (const nlohmann::json& result : run["results"]) {
    EXPECT_TRUE(rules.count(result.at("ruleId")));
    EXPECT_TRUE(result.at("message").at("text").is_string());
    const std::string level = result.at("level");
    EXPECT_TRUE(level == "error" || level == "warning" || level == "note");
    const nlohmann::json& place = result.at("locations").at(0);
    const std::string uri = place.at("physicalLocation").at("artifactLocation").at("uri");
    EXPECT_TRUE(std::regex_match(uri, std::regex("([A-Za-z0-9/._~-]|%[0-9A-F]{2})+"))) << uri;  // RFC 3986
    EXPECT_GE(place["physicalLocation"].at("region").at("startLine"), 1);
    EXPECT_FALSE(place.at("logicalLocations").at(0).at("fullyQualifiedName").get<std::string>().empty());
  }
  EXPECT_EQ(run["invocations"][0]["exitCode"], 1);
}

TEST(Formats, GithubHasAtMostTenAnnotationsOfOneLineEach) {
  Verdict verdict = stranger_verdict();
  for (int layer = 2; layer < 40; layer += 2) {
    Finding finding = verdict.findings.back();
    finding.layer = layer;
    finding.best = "cause " + std::to_string(layer);
    finding.cause = Cause::named;
    verdict.findings.push_back(finding);
  }
  const std::vector<std::string> lines = lines_of(in_format(verdict, "github"));
  ASSERT_EQ(lines.size(), 11U);
  // docs.github.com, "Workflow commands": ::name key=value::data; % , : of a property are escaped.
  const std::regex command("::(error|warning|notice) title=([^%,:]|%(25|3A|2C|0D|0A))*::([^%]|%(25|0D|0A))+");
  for (size_t i = 0; i < 10; ++i) EXPECT_TRUE(std::regex_match(lines[i], command)) << lines[i];
  EXPECT_NE(lines[10].find("more"), std::string::npos);
  EXPECT_EQ(lines_of(in_format(clean_verdict(), "github")).at(0).substr(0, 9), "::notice ");
}

TEST(Formats, AgentHasALinePerFinding) {
  const std::vector<std::string> lines = lines_of(in_format(stranger_verdict(), "agent"));
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(lines[0].substr(0, 31), "verdict=FAULT exit=1 findings=3");
  const std::regex pairs(R"re(([a-z_0-9]+=("[^"]*"|[^ "=]+) ?)+)re");
  for (const std::string& line : lines) EXPECT_TRUE(std::regex_match(line, pairs)) << line;
  for (size_t i = 1; i < lines.size(); ++i) EXPECT_NE(lines[i].find(" next="), std::string::npos);
}

TEST(StoredVerdict, GivesBackAllThatReportsSay) {
  Verdict verdict = stranger_verdict();
  verdict.findings.front().intervention = Intervention{true, 1, 1e-8, 2, 1e-7, "p4_sys"};
  verdict.findings.front().difference = Difference{"fused_kernel", {{"en", "es"}}, {}};
  verdict.exercise.emplace();
  verdict.exercise->blocks = {1, 33};
  verdict.exercise->not_exercised = {{"a", "b"}};
  verdict.noise = {{.phase = Phase::decode, .layer = 1, .stage = Stage::down, .ratio = INFINITY}};
  const Verdict again = verdict_from_stored(stored_verdict(verdict), "here");
  for (const Artifact& artifact : kArtifacts)
    EXPECT_EQ(artifact.make(again), artifact.make(verdict)) << artifact.name;
}

TEST(StoredVerdict, RefusesWhatIsNone) {
  const std::string whole = stored_verdict(fault_verdict());
  for (const size_t size : {size_t{0}, size_t{1}, whole.size() / 2, whole.size() - 1})
    EXPECT_THROW(verdict_from_stored(whole.substr(0, size), "here"), Error) << size;
  EXPECT_THROW(verdict_from_stored(std::string(1000000, '\x81'), "here"), Error);  // deep
  nlohmann::json file = nlohmann::json::from_cbor(whole);
  for (const nlohmann::json& stage : {nlohmann::json(-1), nlohmann::json(99), nlohmann::json("q")}) {
    file["verdict"]["findings"][0]["stage"] = stage;
    std::string bytes;
    nlohmann::json::to_cbor(file, bytes);
    EXPECT_THROW(verdict_from_stored(bytes, "here"), Error) << stage;
  }
}

}  // namespace
}  // namespace greta::report
