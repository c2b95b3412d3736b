#pragma once
// A machine's shell: ours, or that of another machine by the system's ssh. Scripts of POSIX sh go in by
// standard input, so that no login shell reads, splits or expands a word of them.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace greta::launch {

/// 'text' as sh reads it: whatever is in it.
std::string sh_word(std::string_view text);

/// The connection was lost, or there was none; another try may have one.
class Lost : public Error {
 public:
  explicit Lost(const std::string& message) : Error(ErrorKind::machine, message) {}
};

/// What was there is there no more.
class Gone : public Error {
 public:
  explicit Gone(const std::string& message) : Error(ErrorKind::machine, message) {}
};

class Machine {
 public:
  /// `host` empty: this machine. `ssh_config`, if any, is ssh's -F.
  Machine(std::string host, std::string ssh_config);

  bool is_here() const { return host_.empty(); }
  std::string name() const { return is_here() ? "this machine" : host_; }
  const std::string& host() const { return host_; }
  const std::string& ssh_config() const { return ssh_config_; }

  /// Heard several times a second while something runs; may throw to end that.
  std::function<void()> on_wait = {};

  struct Ran {
    int exit_code = 0;
    std::string output, errors;
  };
  /// Runs a script to its end; its input is empty. What it prints goes to `on_output` instead of into the
  /// result, if given. Lost, or an Error in one line that says what to do about it, where ssh fails.
  Ran run(const std::string& script, const std::function<void(std::string_view)>& on_output = {}) const;

  /// Adds the bytes of `file` from `offset` to the file `path` there, which needs no quotes.
  void append(const std::string& file, int64_t offset, const std::string& path) const;

 private:
  std::vector<std::string> command(const std::string& there) const;

  std::string host_, ssh_config_;
};

/// What ssh's complaint means, as one line about `host`; thrown.
[[noreturn]] void fail_as_ssh(const std::string& host, const std::string& errors);

/// The last line that says something.
std::string last_line(std::string_view text);

}  // namespace greta::launch
