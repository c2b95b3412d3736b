#pragma once
// Ctrl-C: commands that record stop between two runs and leave a readable bundle.

#include <stdexcept>
#include <string>

namespace greta::cli {

class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The first SIGINT or SIGTERM is noted; a second one ends the program at once.
void install_interrupt_handler();

bool is_interrupted();

/// Throws Interrupted with `message` if one was noted.
void throw_if_interrupted(const std::string& message);

}  // namespace greta::cli
