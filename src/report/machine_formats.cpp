// The formats of CI systems and agents. Bytes of strangers come out printable; each format's own marks are
// escaped on top.

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <nlohmann/json.hpp>
#include <pugixml.hpp>
#include <set>
#include <sstream>

#include "base/printable.h"
#include "io/json_fields.h"
#include "io/json_number.h"
#include "report/outcome.h"
#include "report/writer.h"

namespace greta::report {
namespace {

constexpr size_t kMostSarif = 5000, kMostAnnotations = 10;

std::string_view level_name(Outcome::Level level) {
  return level == Outcome::Level::error ? "error" : level == Outcome::Level::warning ? "warning" : "note";
}

/// XML 1.0 has no place for U+FFFE and the like, nor for controls: printable() leaves none.
void set(pugi::xml_node node, const char* name, std::string_view text) {
  node.append_attribute(name).set_value(greta::printable(text).c_str());
}

/// Of a file or a directory: relative as it is, with what a URI may not hold as %xx.
std::string uri_of(const std::string& path) {
  std::string uri;
  for (const char c : path) {
    const bool plain = std::isalnum(static_cast<unsigned char>(c)) != 0 || std::strchr("/._-~", c) != nullptr;
    uri += plain && c != '\0' ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return uri.empty() ? "." : uri;
}

/// docs.github.com, "Workflow commands": data and properties are escaped differently.
std::string escaped(std::string_view text, bool property) {
  std::string out;
  for (const char c : greta::printable(text)) {
    if (c == '%') {
      out += "%25";
    } else if (property && c == ':') {
      out += "%3A";
    } else if (property && c == ',') {
      out += "%2C";
    } else {
      out += c;
    }
  }
  return out;
}

std::string as_value(std::string_view text) {
  const std::string clean = greta::printable(text);
  if (!clean.empty() && clean.find_first_of(" \"=") == std::string::npos) return clean;
  std::string out = "\"";
  for (const char c : clean) out += c == '"' ? std::string("'") : std::string(1, c);
  return out + "\"";
}

nlohmann::json sarif_result(const Outcome& outcome, const Outcome::Result& result) {
  return {
      {"ruleId", result.rule},
      {"level", level_name(result.level)},
      {"message", {{"text", result.message}}},
      {"locations",
       {{{"physicalLocation",
          {{"artifactLocation", {{"uri", uri_of(outcome.source)}}}, {"region", {{"startLine", 1}}}}},
         {"logicalLocations", {{{"fullyQualifiedName", result.place}, {"kind", "function"}}}}}}},
      {"partialFingerprints", {{"place/v1", result.place + " " + result.rule}}},
      {"properties",
       {{"kernel", result.kernel}, {"noiseRatio", json_number(result.noise_ratio)}, {"next", result.next}}}};
}

}  // namespace

std::string junit(const Outcome& outcome) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child("testsuites");
  set(root, "name", "greta: " + outcome.subject);
  std::vector<std::string> suites;
  for (const Outcome::Case& one : outcome.cases) {
    if (std::find(suites.begin(), suites.end(), one.suite) == suites.end()) suites.push_back(one.suite);
  }
  for (const std::string& suite : suites) {
    pugi::xml_node node = root.append_child("testsuite");
    set(node, "name", suite);
    int tests = 0, failures = 0, skipped = 0;
    std::vector<const Outcome::Case*> own;
    for (const Outcome::Case& one : outcome.cases) {
      if (one.suite != suite) continue;
      own.push_back(&one);
      ++tests;
      failures += one.state == Outcome::Case::State::failed;
      skipped += one.state == Outcome::Case::State::unmeasured;
    }
    node.append_attribute("tests").set_value(tests);
    node.append_attribute("failures").set_value(failures);
    node.append_attribute("errors").set_value(0);
    node.append_attribute("skipped").set_value(skipped);
    for (const Outcome::Case* one : own) {
      pugi::xml_node test = node.append_child("testcase");
      set(test, "classname", "greta." + suite);
      set(test, "name", one->name);
      test.append_attribute("time").set_value(0);
      if (one->state == Outcome::Case::State::passed) continue;
      const bool failed = one->state == Outcome::Case::State::failed;
      pugi::xml_node child = test.append_child(failed ? "failure" : "skipped");
      set(child, "message", failed ? one->message : "UNMEASURED: " + one->message);
      if (failed) set(child, "type", "FAULT");
    }
  }
  std::ostringstream text;
  document.save(text, "  ", pugi::format_default, pugi::encoding_utf8);
  return text.str();
}

std::string sarif(const Outcome& outcome) {
  nlohmann::json results = nlohmann::json::array(), rules = nlohmann::json::array();
  std::set<std::string> known;
  for (size_t i = 0; i < std::min(outcome.results.size(), kMostSarif); ++i) {
    const Outcome::Result& result = outcome.results[i];
    results.push_back(sarif_result(outcome, result));
    if (known.insert(result.rule).second)
      rules.push_back({{"id", result.rule}, {"shortDescription", {{"text", result.rule}}}});
  }
  const nlohmann::json driver = {{"name", "GRETA"}, {"version", outcome.version}, {"rules", rules}};
  return dump_json(
             {{"$schema", "https://json.schemastore.org/sarif-2.1.0.json"},
              {"version", "2.1.0"},
              {"runs",
               {{{"tool", {{"driver", driver}}},
                 {"results", results},
                 {"invocations", {{{"executionSuccessful", true}, {"exitCode", exit_code(outcome.status)}}}},
                 {"properties",
                  {{"verdict", name(outcome.status)},
                   {"headline", outcome.headline},
                   {"coveragePercent", outcome.coverage.percent()},
                   {"unmeasured", outcome.coverage.recorded - outcome.coverage.judged}}}}}}},
             2) +
         "\n";
}

std::string github(const Outcome& outcome) {
  std::string text;
  const size_t most = std::min(outcome.results.size(), kMostAnnotations);
  for (size_t i = 0; i < most; ++i) {
    const Outcome::Result& result = outcome.results[i];
    const std::string_view command =
        result.level == Outcome::Level::note ? "notice" : level_name(result.level);
    text += fmt::format("::{} title={}::{}\n", command, escaped("GRETA " + result.place, true),
                        escaped(result.message, false));
  }
  if (outcome.results.size() > most)
    text += fmt::format("{} more: see the step's summary\n", outcome.results.size() - most);
  if (most == 0) {
    text += fmt::format("::{} title=GRETA {}::{}\n", is_clean(outcome.status) ? "notice" : "warning",
                        name(outcome.status), escaped(outcome.headline, false));
  }
  return text;
}

std::string agent(const Outcome& outcome) {
  std::string text = fmt::format(
      "verdict={} exit={} findings={} coverage={:.1f}% unmeasured={} model={}\n", name(outcome.status),
      exit_code(outcome.status), outcome.results.size(), outcome.coverage.percent(),
      outcome.coverage.recorded - outcome.coverage.judged, as_value(outcome.subject));
  for (size_t i = 0; i < outcome.results.size(); ++i) {
    const Outcome::Result& result = outcome.results[i];
    text += fmt::format("finding={} place={} cause={} noise_ratio={} {}{}kernel={} what={} next={}\n", i + 1,
                        as_value(result.place), as_value(result.rule), brief(result.noise_ratio),
                        result.facts, result.facts.empty() ? "" : " ", as_value(result.kernel),
                        as_value(result.message), as_value(result.next));
  }
  return text;
}

}  // namespace greta::report
