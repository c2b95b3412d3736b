#pragma once
// manifest.json: what a bundle's run was (docs/trace-format.md).

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "record/matrix_request.h"

namespace greta {

/// What a run was started with, as the user wrote it.
struct Origin {
  std::string command_line = {};
  std::map<std::string, std::string> environment = {};  // the GRETA_* variables that were set
  std::vector<std::string> routes = {};                 // --route rules
  std::vector<std::string> injected = {};               // --inject faults
};

/// "complete" is false: set it when the run has ended well.
nlohmann::json make_manifest(const Engine& engine, const MatrixRequest& request, const Origin& origin);

}  // namespace greta
