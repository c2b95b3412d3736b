#include "cli/options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <sstream>
#include <utility>

#include "base/error.h"
#include "base/nearest.h"

namespace greta::cli {

Option& Option::required() {
  option_->required();
  return *this;
}

Option& Option::takes(const std::string& type) {
  option_->type_name(type);
  return *this;
}

Option& Option::range(int least, int most) {
  option_->check(CLI::Range(least, most));
  return *this;
}

Option& Option::range(double least, double most) {
  option_->check(CLI::Range(least, most));
  return *this;
}

Option& Option::one_of(const std::vector<std::string>& words) {
  option_->check(CLI::IsMember(words));
  return *this;
}

Option& Option::shows_default() {
  option_->capture_default_str();
  return *this;
}

Option& Option::comma_separated() {
  option_->delimiter(',');
  return *this;
}

Option& Option::repeatable() {
  option_->allow_extra_args(false);
  option_->description(option_->get_description() + "; repeatable");
  return *this;
}

Option& Option::single() {
  option_->expected(1);
  return *this;
}

Option& Option::needs(const Option& other) {
  option_->needs(other.option_);
  return *this;
}

Option Command::flag(const std::string& names, bool& variable, const std::string& help) {
  return Option(app_->add_flag(names, variable, help));
}

Option Command::option(const std::string& names, std::string& variable, const std::string& help) {
  return Option(app_->add_option(names, variable, help));
}

Option Command::option(const std::string& names, int& variable, const std::string& help) {
  return Option(app_->add_option(names, variable, help));
}

Option Command::option(const std::string& names, int64_t& variable, const std::string& help) {
  return Option(app_->add_option(names, variable, help));
}

Option Command::option(const std::string& names, uint64_t& variable, const std::string& help) {
  return Option(app_->add_option(names, variable, help));
}

Option Command::option(const std::string& names, double& variable, const std::string& help) {
  return Option(app_->add_option(names, variable, help));
}

Option Command::option(const std::string& names, std::optional<int>& variable, const std::string& help) {
  return Option(app_->add_option(names, variable, help));
}

Option Command::option(const std::string& names, std::vector<std::string>& variable,
                       const std::string& help) {
  return Option(app_->add_option(names, variable, help));
}

Option Command::option(const std::string& names, std::vector<int64_t>& variable, const std::string& help) {
  return Option(app_->add_option(names, variable, help));
}

void Command::remove(const std::string& name) { app_->remove_option(app_->get_option(name)); }

void Command::footer(const std::string& text) { app_->footer(text); }

void Command::hide() { app_->group(""); }

void Command::on_run(std::function<void()> action) { app_->callback(std::move(action)); }

Program::Program(const std::string& name, const std::string& help, const std::string& version)
    : app_(std::make_unique<CLI::App>(help, name)) {
  app_->require_subcommand(1);
  app_->get_formatter()->column_width(28);
  app_->set_version_flag("--version", version);
}

Program::~Program() = default;

void Program::footer(const std::string& text) { app_->footer(text); }

Command Program::command(const std::string& name, const std::string& help) {
  return Command(app_->add_subcommand(name, help));
}

namespace {

/// Where a word was given that an option takes: a required one that was not.
std::string option_for(const std::string& word, const CLI::App& command) {
  for (const CLI::Option* one : command.get_options()) {
    if (one->get_required() && one->count() == 0 && !one->get_positional())
      return "; did you mean " + one->get_name() + " '" + word + "'?";
  }
  return ": " + command.get_name() + " takes no more words (an option that is repeatable, once a value)";
}

/// What is not known of a command line, and what was probably meant.
std::string complaint_about(const CLI::App& program, const std::vector<std::string>& unknown) {
  const std::vector<CLI::App*> chosen = program.get_subcommands();
  // CLI11 lists an option's value before it.
  const auto option = std::find_if(unknown.begin(), unknown.end(),
                                   [](const std::string& word) { return word.starts_with('-'); });
  const std::string& word = option == unknown.end() ? unknown.front() : *option;
  std::vector<std::string> known;
  if (chosen.empty() && option == unknown.end()) {
    for (const CLI::App* command : program.get_subcommands([](const CLI::App*) { return true; }))
      known.push_back(command->get_name());
    return "unknown command '" + word + "'" + did_you_mean(word, known);
  }
  const CLI::App& command = chosen.empty() ? program : *chosen.front();
  if (!word.starts_with('-')) return "'" + word + "' was not expected" + option_for(word, command);
  for (const CLI::Option* one : command.get_options()) {
    for (const std::string& name : one->get_lnames()) known.push_back("--" + name);
    for (const std::string& name : one->get_snames()) known.push_back("-" + name);
  }
  return "unknown option " + word + did_you_mean(word, known);
}

/// `greta help COMMAND` is `greta COMMAND --help`.
std::vector<std::string> as_parsed(std::vector<std::string> arguments) {
  if (!arguments.empty() && arguments.front() == "help") {
    arguments.erase(arguments.begin());
    arguments.emplace_back("--help");
  }
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes them
  return arguments;
}

}  // namespace

std::optional<Answer> Program::parse(std::vector<std::string> arguments) {
  const auto refusal = [this](const std::string& complaint) {
    return Answer{
        .complaint = app_->get_name() + ": " + complaint + "\nRun with --help for more information.\n",
        .exit_code = static_cast<int>(ErrorKind::input)};
  };
  const auto answer_to = [&](const CLI::ParseError& error) {
    std::ostringstream text, complaint;
    if (app_->exit(error, text, complaint) == 0) return Answer{.text = text.str()};  // help was asked for
    return Answer{.complaint = app_->get_name() + ": " + complaint.str(),
                  .exit_code = static_cast<int>(ErrorKind::input)};
  };
  try {
    app_->parse(as_parsed(std::move(arguments)));
    return std::nullopt;
  } catch (const CLI::ExtrasError&) {
    return refusal(complaint_about(*app_, app_->remaining(true)));
  } catch (const CLI::RequiredError& error) {
    // What is not known says more than what is missing: it may be that, misspelt.
    const std::vector<std::string> unknown = app_->remaining(true);
    return unknown.empty() ? answer_to(error) : refusal(complaint_about(*app_, unknown));
  } catch (const CLI::ParseError& error) {
    return answer_to(error);
  }
}

namespace {

OptionText text_of(const CLI::Option& option) {
  const bool positional = option.get_positional();
  std::string names;
  for (const char c : option.get_name(positional, !positional)) names += c == ',' ? ", " : std::string(1, c);
  return {names, CLI::Formatter().make_option_opts(&option), option.get_description()};
}

}  // namespace

std::vector<CommandText> Program::commands() const {
  std::vector<CommandText> commands;
  for (const CLI::App* app : std::as_const(*app_).get_subcommands(
           [](const CLI::App* command) { return !command->get_group().empty(); })) {
    CommandText command{app->get_name(), app->get_description(), app->get_footer(), {}};
    for (const CLI::Option* option : app->get_options()) command.options.push_back(text_of(*option));
    commands.push_back(std::move(command));
  }
  return commands;
}

}  // namespace greta::cli
