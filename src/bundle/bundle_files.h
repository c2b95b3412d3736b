#pragma once
// A bundle's files: their names, and their parsing from memory
// (directories, archives and fuzzers all come here).

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bundle/bundle.h"

namespace greta {

inline constexpr const char* kManifestFile = "manifest.json";
inline constexpr const char* kEventsFile = "events.jsonl";

/// All that GRETA writes into a bundle's directory, besides tensors-NNNN.safetensors. (The reports' names are
/// those of report/artifacts.h, which sees to it that none is missing here.)
inline constexpr const char* kOwnFiles[] = {
    kManifestFile,  kEventsFile,     "verdict.json",      "b3_31_analysis.txt", "report.en.md",
    "report.es.md", "artifacts.tgz", "qkv_w_verify.json", "report.html",        "verdict.cbor",
    "part.cbor"};

constexpr bool is_listed_file(std::string_view name) {
  for (const std::string_view own : kOwnFiles) {
    if (name == own) return true;
  }
  return false;
}

/// True for the names above, tensors-NNNN.safetensors,
/// and either with the suffix .tmp of an interrupted write.
bool is_own_file(std::string name);

/// How much room these take in a directory, as people read it: "107 MB".
std::string size_of_files(const std::string& directory);

/// A file's bytes by its name, valid until parse_bundle returns; empty when there is no such file.
using FindFile = std::function<std::optional<std::span<const std::byte>>(const std::string& name)>;

/// read_bundle's work once the files are at hand; `path` is for messages.
Bundle parse_bundle(const std::string& path, const FindFile& find);

/// The events of events.jsonl; a last line that was cut off becomes a note.
std::vector<Event> parse_events(std::string_view text, const std::string& where,
                                std::vector<std::string>& notes);

}  // namespace greta
