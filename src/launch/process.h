#pragma once
// Another program, run to its end with its input given and its output heard.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace greta::launch {

struct ProcessRequest {
  std::vector<std::string> command;
  std::string input = {};       // for its standard input
  std::string input_file = {};  // or the bytes of a file, from `input_offset`
  int64_t input_offset = 0;
  std::function<void(std::string_view)> on_output = {};  // of its standard output; may throw: that ends it
  std::function<void()> on_wait = {};                    // several times a second; may throw: that ends it
};

struct ProcessEnd {
  int exit_code = 0;   // 128 + signal where one ended it
  std::string errors;  // the last of its standard error
};

/// Input Errors: the program is not there. It is in a process group of its own: Ctrl-C is ours.
ProcessEnd run_process(const ProcessRequest& request);

}  // namespace greta::launch
