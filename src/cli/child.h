#pragma once
// Another program, run to its end.

#include <string>
#include <utility>
#include <vector>

namespace greta::cli {

struct ChildRequest {
  std::vector<std::string> command;
  std::vector<std::pair<std::string, std::string>> environment;  // besides our own, or in its place
  std::string preload;                                           // a library before those of LD_PRELOAD
  bool silent = false;                                           // nothing in, nothing out
};

struct ChildEnd {
  int exit_code = 0;  // 128 + signal where one ended it, as shells have it
  bool killed = false;
};

/// Waits; Ctrl-C is the child's, SIGTERM is passed on to it. A CannotRun where it could not be started.
ChildEnd run_child(const ChildRequest& request);

struct CannotRun {
  int exit_code;  // 127: not found; 126: not to be run
  std::string reason;
};

}  // namespace greta::cli
