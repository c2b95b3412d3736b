#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/archive.h"
#include "io/json_fields.h"
#include "io/output_file.h"
#include "report/artifacts.h"

namespace greta::report {
namespace {

namespace fs = std::filesystem;

/// The bundle's and the reports' files, sorted, inside one directory of the bundle's name.
std::vector<ArchiveMember> members_of(const fs::path& directory) {
  std::string prefix = fs::weakly_canonical(directory).filename().string();
  if (prefix.empty()) prefix = "greta";
  std::vector<ArchiveMember> members;
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string file = entry.path().filename().string();
    if (!entry.is_regular_file() || !is_own_file(file) || file.ends_with(".tmp") || file == kArchive)
      continue;
    members.push_back({prefix + "/" + file, entry.path().string()});
  }
  std::sort(members.begin(), members.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  return members;
}

}  // namespace

std::string verdict_file(const Report& report) { return dump_json(to_json(report.verdict), 2) + "\n"; }

void write_files(const Report& report, const std::string& directory, bool archive) {
  const fs::path root = directory;
  for (const Artifact& artifact : kArtifacts)
    replace_file((root / artifact.name).string(), artifact.make(report));
  try {
    if (!archive) fs::remove(root / kArchive);  // an earlier run's
    if (archive) write_archive((root / kArchive).string(), members_of(root));
  } catch (const fs::filesystem_error& error) {
    fail_machine("{}: {}", directory, error.code().message());
  }
}

}  // namespace greta::report
