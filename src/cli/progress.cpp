#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "base/printable.h"
#include "cli/interrupt.h"

namespace greta::cli {

Progress::Progress() : terminal_(isatty(STDERR_FILENO) != 0) {}

void Progress::clear() {
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

std::function<void(size_t, size_t)> judging(Progress& progress, const std::string& interrupted) {
  return [&progress, interrupted](size_t done, size_t all) {
    throw_if_interrupted(interrupted);
    progress.show(static_cast<int>(done), static_cast<int>(all), "judged");
  };
}

}  // namespace greta::cli
