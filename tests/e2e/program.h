#pragma once
// Runs the greta program as its users do.

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace greta::test {

namespace fs = std::filesystem;

/// A directory of its own for each test, gone afterwards.
class Scratch {
 public:
  Scratch() {
    std::string pattern = (fs::temp_directory_path() / "greta-e2e-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

inline void write_file(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

struct Outcome {
  int exit_code = -1;
  std::string out, err;
};

/// Starts `greta ARGUMENTS...` with `environment` ("NAME=value") added; stdout and stderr go to files.
/// `shell_prefix` is run first in the same shell ("ulimit -f 10").
inline pid_t start(const std::vector<std::string>& arguments, const std::string& out, const std::string& err,
                   const std::vector<std::string>& environment = {}, const std::string& shell_prefix = "") {
  const auto quoted = [](const std::string& word) {
    std::string text = "'";
    for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return text + "'";
  };
  std::string line = shell_prefix.empty() ? "exec env" : shell_prefix + "; exec env";
  for (const std::string& setting : environment) line += " " + quoted(setting);
  line += " " + quoted(GRETA_PROGRAM);
  for (const std::string& argument : arguments) line += " " + quoted(argument);
  line += " >" + quoted(out) + " 2>" + quoted(err) + " </dev/null";
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execl("/bin/bash", "bash", "-c", line.c_str(), static_cast<char*>(nullptr));
    ::_exit(127);
  }
  return pid;
}

inline int wait_for(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

inline Outcome run_greta(const std::vector<std::string>& arguments,
                         const std::vector<std::string>& environment = {},
                         const std::string& shell_prefix = "") {
  const Scratch scratch;
  Outcome outcome;
  outcome.exit_code = wait_for(start(arguments, scratch / "out", scratch / "err", environment, shell_prefix));
  outcome.out = read_file(scratch / "out");
  outcome.err = read_file(scratch / "err");
  return outcome;
}

}  // namespace greta::test
