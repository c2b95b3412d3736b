#pragma once
// A progress line on stderr, if that is a terminal; nothing otherwise.

#include <string>

namespace greta::cli {

class Progress {
 public:
  Progress();
  ~Progress();  // clears the line
  void show(int done, int total, const std::string& label);

 private:
  bool terminal_;
};

}  // namespace greta::cli
