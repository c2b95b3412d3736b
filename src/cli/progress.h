#pragma once
// A progress line on stderr; where that is no terminal, a line now and then of what takes long.

#include <functional>
#include <string>

#include "base/timing.h"

namespace greta::cli {

class Progress {
 public:
  Progress();
  ~Progress() { clear(); }
  void show(int done, int total, const std::string& label);
  /// The line, for another one in its place.
  void clear();

 private:
  bool terminal_;
  Stopwatch clock_;
  double next_ = kFirst;  // seconds: when to say something again
  static constexpr double kFirst = 2, kEvery = 10;
};

/// Shows how far the judge is, and ends it with `interrupted` where the user asks for that.
std::function<void(size_t, size_t)> judging(Progress& progress, const std::string& interrupted);

}  // namespace greta::cli
