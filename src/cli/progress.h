#pragma once
// A progress line on stderr; where that is no terminal, a line now and then of what takes long.

#include <string>

#include "base/timing.h"

namespace greta::cli {

class Progress {
 public:
  Progress();
  ~Progress();  // clears the line
  void show(int done, int total, const std::string& label);

 private:
  bool terminal_;
  Stopwatch clock_;
  double next_ = kFirst;  // seconds: when to say something again
  static constexpr double kFirst = 2, kEvery = 10;
};

}  // namespace greta::cli
