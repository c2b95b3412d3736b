#pragma once
// Errors that end a command. The kind decides the exit code (docs/architecture.md, "Exit codes").

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace greta {

enum class ErrorKind {
  input = 2,    // bad usage or bad input: the user can mend it
  machine = 3,  // the machine or GRETA itself failed: disk full, out of memory, a broken promise inside
};

/// One line that says what was wrong, where, and what to do.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, std::string message) : std::runtime_error(std::move(message)), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

template <class... Args>
[[noreturn]] void fail_input(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorKind::input, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
[[noreturn]] void fail_machine(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorKind::machine, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace greta
