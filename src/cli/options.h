#pragma once
// How commands declare what they take. CLI11 does the work, but its headers take longer to compile than most
// commands: only options.cpp includes them.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace greta::cli {

/// What can be said of an option, or of a positional argument, after its declaration: as a chain.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}

  Option& required();
  /// The name of its value in --help: FILE.
  Option& takes(const std::string& type);
  Option& range(int least, int most);
  Option& range(double least, double most);
  Option& one_of(const std::vector<std::string>& words);
  /// --help shows the value that the variable has now.
  Option& shows_default();
  /// A list, 1,2,3.
  Option& comma_separated();
  /// A list, one value each time that the option is given.
  Option& repeatable();
  /// A list of exactly one value.
  Option& single();
  /// Given without `other`: an error.
  Option& needs(const Option& other);

 private:
  CLI::Option* option_;
};

/// Options write into the variables that they are declared with, which must outlive the program's parse().
class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}

  Option flag(const std::string& names, bool& variable, const std::string& help);
  /// `names`: "-m,--model", or "BUNDLE" for a positional argument.
  Option option(const std::string& names, std::string& variable, const std::string& help);
  Option option(const std::string& names, int& variable, const std::string& help);
  Option option(const std::string& names, int64_t& variable, const std::string& help);
  Option option(const std::string& names, uint64_t& variable, const std::string& help);
  Option option(const std::string& names, double& variable, const std::string& help);
  Option option(const std::string& names, std::optional<int>& variable, const std::string& help);
  Option option(const std::string& names, std::vector<std::string>& variable, const std::string& help);
  Option option(const std::string& names, std::vector<int64_t>& variable, const std::string& help);
  /// Takes back an option that declarations shared with other commands brought along.
  void remove(const std::string& name);

  void footer(const std::string& text);
  /// In no help, nor in the manual page.
  void hide();
  void on_run(std::function<void()> action);

 private:
  CLI::App* app_;
};

/// What the manual page says of an option and of a command: as declared.
struct OptionText {
  std::string names;  // "-m, --model"
  std::string takes;  // what --help puts after them
  std::string help;
};
struct CommandText {
  std::string name, help, footer;
  std::vector<OptionText> options;
};

/// The answer to a command line that runs no command: help, the version, or what is wrong with the line.
struct Answer {
  std::string text = {};       // for stdout
  std::string complaint = {};  // for stderr; repeats the arguments as they are
  int exit_code = 0;
};

class Program {
 public:
  Program(const std::string& name, const std::string& help, const std::string& version);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void footer(const std::string& text);
  Command command(const std::string& name, const std::string& help);

  /// Runs the command that the arguments name; what it throws passes through.
  std::optional<Answer> parse(std::vector<std::string> arguments);

  /// The commands that are not hidden.
  std::vector<CommandText> commands() const;

 private:
  std::unique_ptr<CLI::App> app_;
};

}  // namespace greta::cli
