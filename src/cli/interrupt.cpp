#include "cli/interrupt.h"

#include <csignal>

namespace greta::cli {
namespace {

volatile std::sig_atomic_t interrupted = 0;

void note(int signal) {
  interrupted = 1;
  std::signal(signal, SIG_DFL);
}

}  // namespace

void install_interrupt_handler() {
  std::signal(SIGINT, note);
  std::signal(SIGTERM, note);
}

bool is_interrupted() { return interrupted != 0; }

void throw_if_interrupted(const std::string& message) {
  if (is_interrupted()) throw Interrupted(message);
}

}  // namespace greta::cli
