#pragma once
// manifest.json: what a bundle's run was (docs/trace-format.md).

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/session.h"
#include "model/prompt.h"

namespace greta {

struct ManifestInfo {
  std::string command_line;
  std::map<std::string, std::string> environment;  // the GRETA_* variables that were set
  std::vector<Prompt> prompts;
  nlohmann::json experiments = nlohmann::json::array();  // {"name", "force_route", "force_gemm"}
  std::vector<std::string> routes;                       // --route rules
  std::vector<std::string> injected;                     // --inject faults
  bool aligned = true;
};

/// "complete" is false: set it when the run has ended well.
nlohmann::json make_manifest(const Engine& engine, const ManifestInfo& info);

/// Now, as in 2026-02-03T12:34:56Z.
std::string utc_now();

}  // namespace greta
