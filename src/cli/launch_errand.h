#pragma once
// What `greta launch` is asked to do, and what that is for the far side.

#include <string>
#include <vector>

#include "cli/common.h"
#include "launch/errand.h"

namespace greta::cli {

struct LaunchOptions {
  std::vector<std::string> hosts, sbatch;
  std::string date, name, model_there, program, program_there, base, ssh_config, resume;
  bool slurm = false, force = false;
  int tasks = 8, patience = 3600;
};

/// Of the arguments after "--". Input Errors: no command that can be launched, or one that is wrong in
/// itself.
launch::Errand errand_of(const LaunchOptions& options, const Context& context);

}  // namespace greta::cli
