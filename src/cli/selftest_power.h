#pragma once
// greta selftest without --metamorphic: the measured power of the diagnosis.

#include <optional>
#include <string>

#include "cli/common.h"

namespace greta::cli {

struct PowerOptions {
  CommonOptions common;
  std::string only;
  bool quick = false;
  bool weakest = false;
  std::optional<int> stacked;
  std::string out;
};

/// --only, --quick, --stacked, --weakest, --out, the model, --json and the engine's options.
void add_power_options(Command& command, PowerOptions& options);

void run_power(const PowerOptions& options, Context& context);

}  // namespace greta::cli
