#include "report/metamorphic.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "io/json_number.h"

namespace greta::report {
namespace {

constexpr size_t kResultWidth = 7;

std::string shown(CheckResult result) {
  switch (result) {
    case CheckResult::passed: return "passed";
    case CheckResult::failed: return "FAILED";
    case CheckResult::not_applicable: return "n/a";
  }
  return "?";
}

/// "3/4" cases that hold; "" where none was run.
std::string cases_of(const MetamorphicCheck& check) {
  const auto good =
      std::count_if(check.cases.begin(), check.cases.end(), [](const CheckCase& c) { return !c.deviation; });
  return check.cases.empty() ? "" : fmt::format("{}/{}", good, check.cases.size());
}

std::string labels(const MetamorphicCheck& check, bool passed) {
  std::string text;
  for (const CheckCase& one : check.cases) {
    if (one.deviation.has_value() == passed) continue;
    text += (text.empty() ? "" : ", ") + one.label;
  }
  return text;
}

std::vector<std::string> notes_of(const MetamorphicCheck& check) {
  std::vector<std::string> notes;
  const auto first =
      std::find_if(check.cases.begin(), check.cases.end(), [](const CheckCase& c) { return c.deviation; });
  if (first != check.cases.end()) {
    notes.push_back("fails: " + labels(check, false));
    const std::string holds = labels(check, true);
    if (!holds.empty()) notes.push_back("holds: " + holds);
    notes.push_back("first: " + place(*first->deviation));
    notes.push_back("       " + values(*first->deviation));
  }
  if (!check.why_not.empty()) notes.push_back("note: " + check.why_not);
  return notes;
}

nlohmann::json to_json(const Deviation& deviation) {
  return {{"phase", deviation.phase},
          {"length", deviation.length},
          {"layer", deviation.layer},
          {"position", deviation.position},
          {"what", deviation.what},
          {"element", deviation.element},
          {"expected", json_number(deviation.expected)},
          {"observed", json_number(deviation.observed)},
          {"text", place(deviation) + ": " + values(deviation)}};
}

}  // namespace

Document metamorphic_report(const std::vector<MetamorphicCheck>& checks) {
  Table table{{{.head = "result", .least = kResultWidth},
               {.head = "check", .least = 22},
               {.head = "cases", .align = Align::right, .least = 5},
               {.head = "what must hold, bit for bit", .gap = 2}},
              {}};
  table.note_indent = kResultWidth + 1;
  for (const MetamorphicCheck& check : checks) {
    if (std::vector<std::string> notes = notes_of(check); !notes.empty())
      table.notes[table.rows.size()] = std::move(notes);
    table.rows.push_back({shown(check.result()), check.name, cases_of(check), check.states});
  }
  return {
      std::move(table),
      Paragraph{fmt::format("{} passed, {} failed, {} not applicable", count(checks, CheckResult::passed),
                            count(checks, CheckResult::failed), count(checks, CheckResult::not_applicable))}};
}

nlohmann::json metamorphic_json(const std::vector<MetamorphicCheck>& checks) {
  nlohmann::json list = nlohmann::json::array();
  for (const MetamorphicCheck& check : checks) {
    nlohmann::json cases = nlohmann::json::array();
    nlohmann::json where;  // null: nowhere
    for (const CheckCase& one : check.cases) {
      nlohmann::json entry = {{"label", one.label}, {"passed", !one.deviation}};
      if (one.deviation) entry["where"] = to_json(*one.deviation);
      if (one.deviation && where.is_null()) where = entry["where"];
      cases.push_back(std::move(entry));
    }
    list.push_back({{"name", check.name},
                    {"states", check.states},
                    {"result", name(check.result())},
                    {"cases", std::move(cases)},
                    {"where", std::move(where)},
                    {"note", check.why_not}});
  }
  return {{"checks", std::move(list)},
          {"passed", count(checks, CheckResult::passed)},
          {"failed", count(checks, CheckResult::failed)},
          {"not_applicable", count(checks, CheckResult::not_applicable)}};
}

}  // namespace greta::report
