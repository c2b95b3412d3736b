#pragma once
// The files that are made of a verdict: the one list of them.

#include <algorithm>
#include <iterator>

#include "bundle/bundle_files.h"
#include "report/page.h"
#include "report/report.h"
#include "report/stored_verdict.h"

namespace greta::report {

struct Artifact {
  const char* name;
  std::string (*make)(const Report& report);
};

/// verdict.json: to_json() as text.
std::string verdict_file(const Report& report);

/// In the order in which people are told of them.
inline constexpr Artifact kArtifacts[] = {
    {"report.html", page},
    {"report.en.md", [](const Report& report) { return markdown(report, Language::english); }},
    {"report.es.md", [](const Report& report) { return markdown(report, Language::spanish); }},
    {"b3_31_analysis.txt", b3_31_analysis},
    {"verdict.json", verdict_file},
    {kStoredVerdict, [](const Report& report) { return stored_verdict(report.verdict); }},
};

/// Of these and the bundle's own files.
inline constexpr const char* kArchive = "artifacts.tgz";

// A bundle that is recorded anew takes them with it, so its writer must know their names.
static_assert(std::all_of(std::begin(kArtifacts), std::end(kArtifacts),
                          [](const Artifact& artifact) { return is_listed_file(artifact.name); }) &&
              is_listed_file(kArchive));

}  // namespace greta::report
