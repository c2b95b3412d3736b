#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "base/printable.h"

namespace greta::cli {

Progress::Progress() : terminal_(isatty(STDERR_FILENO) != 0) {}

Progress::~Progress() {
  if (terminal_) fmt::print(stderr, "\r\x1b[K");
}

void Progress::show(int done, int total, const std::string& label) {
  constexpr int kWidth = 30;
  if (total == 0) return;
  if (!terminal_) {
    if (clock_.seconds() < next_) return;
    next_ = clock_.seconds() + kEvery;
    fmt::print(stderr, "greta: {} of {}: {}\n", done, total, printable(label));
    return;
  }
  const int filled = kWidth * done / total;
  fmt::print(stderr, "\r\x1b[K[{:#>{}}{:->{}}] {}/{} {}", "", filled, "", kWidth - filled, done, total,
             printable(label));
  std::fflush(stderr);
}

}  // namespace greta::cli
