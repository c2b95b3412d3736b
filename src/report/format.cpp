#include "report/format.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json_fields.h"
#include "report/artifacts.h"
#include "report/comparison.h"
#include "report/page.h"

namespace greta::report {
namespace {

/// Two bundles and what they are called.
struct Compared {
  const BundleComparison& result;
  const std::string &a, &b;
};

Outcome outcome_of(const Compared& compared) {
  return report::outcome_of(compared.result, compared.a, compared.b);
}

struct OutputFormat {
  const char* name;
  std::string (*of_verdict)(const Report&);
  std::string (*of_comparison)(const Compared&);
};

/// A format that is made from an outcome.
template <std::string (*make)(const Outcome&)>
constexpr OutputFormat by_outcome(const char* name) {
  return {name, [](const Report& report) { return make(report::outcome_of(report)); },
          [](const Compared& compared) { return make(outcome_of(compared)); }};
}

constexpr OutputFormat kFormats[] = {
    {"html", page,
     [](const Compared& compared) {
       return document_page(outcome_of(compared).headline, {comparison_report(compared.result)});
     }},
    {"markdown", [](const Report& report) { return markdown(report, Language::english); },
     [](const Compared& compared) { return to_markdown(comparison_report(compared.result)); }},
    {"json", verdict_file,
     [](const Compared& compared) { return dump_json(comparison_json(compared.result), 2) + "\n"; }},
    by_outcome<junit>("junit"),
    by_outcome<sarif>("sarif"),
    by_outcome<github>("github"),
    by_outcome<agent>("agent"),
};

const OutputFormat& find_format(std::string_view name) {
  std::string known;
  for (const OutputFormat& format : kFormats) {
    if (format.name == name) return format;
    known += (known.empty() ? "" : ", ") + std::string(format.name);
  }
  fail_input("--format {}: there is no such format; use {}", name, known);
}

}  // namespace

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (const OutputFormat& format : kFormats) names.emplace_back(format.name);
  return names;
}

std::string in_format(const Report& report, std::string_view format) {
  return find_format(format).of_verdict(report);
}

std::string in_format(const BundleComparison& comparison, const std::string& a, const std::string& b,
                      std::string_view format) {
  return find_format(format).of_comparison({comparison, a, b});
}

}  // namespace greta::report
