// `greta complete WORD...`: what the last word of a command line may become. The scripts of the shells
// (completions/) ask it, so that none of them knows a command, an option or a value.

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "cli/output.h"
#include "engine/device.h"
#include "fault/fault.h"
#include "model/prompt.h"

namespace greta::cli {
namespace {

/// What the shells complete themselves; FILES may be followed by the names' end.
constexpr const char *kFiles = "@files", *kModels = "@files .gguf", *kDirectories = "@directories";

struct Candidate {
  std::string word, help = {};
};
using Candidates = std::vector<Candidate>;

Candidates candidates(const std::vector<std::string>& words) {
  Candidates all;
  for (const std::string& word : words) all.push_back({word});
  return all;
}

Candidates fault_names() {
  Candidates all;
  for (const Fault& fault : faults()) all.push_back({std::string(fault.name), std::string(fault.what)});
  return all;
}

Candidates prompt_names() {
  Candidates all;
  for (const std::string_view name : built_in_prompts()) all.push_back({std::string(name)});
  all.push_back({kFiles});
  return all;
}

/// Of options whose declaration does not list their values: by their name, or by what they take.
Candidates values_called(const std::string& name) {
  static const std::map<std::string, Candidates (*)()> kValues = {
      {"--model", [] { return Candidates{{kModels}}; }},
      {"--device", [] { return candidates(device_names()); }},
      {"--devices", [] { return candidates(device_names()); }},
      {"--inject", fault_names},
      {"--prompts", prompt_names},
      {"PROMPT", prompt_names},
      {"DIR", [] { return Candidates{{kDirectories}}; }},
      {"--isa",
       [] {
         return candidates({"scalar", "avx2", "avx512"});
       }},
      {"--layers",
       [] {
         return candidates({"all", "0"});
       }},
      {"--experiments",
       [] {
         return candidates({"E0,E1,E2,E3,E4", "E0", "E1", "E2", "E3", "E4"});
       }},
  };
  const auto it = kValues.find(name);
  return it == kValues.end() ? Candidates{} : it->second();
}

std::vector<std::string> names_of(const OptionText& option) {
  std::vector<std::string> names;
  for (size_t at = 0; at < option.names.size();) {
    const size_t end = std::min(option.names.find(", ", at), option.names.size());
    names.push_back(option.names.substr(at, end - at));
    at = end + 2;
  }
  return names;
}

/// "{f32,f16}" in what an option takes, or what is known of it otherwise; files, if nothing is.
Candidates values_of(const OptionText& option) {
  const size_t open = option.takes.find('{'), close = option.takes.find('}');
  if (open == std::string::npos || close == std::string::npos) {
    const size_t begin = std::min(option.takes.find_first_not_of(' '), option.takes.size());
    Candidates known = values_called(names_of(option).back());
    if (known.empty())
      known = values_called(option.takes.substr(begin, option.takes.find_first_of(" =:", begin) - begin));
    return known.empty() ? Candidates{{kFiles}} : known;
  }
  Candidates all;
  for (size_t at = open + 1; at < close;) {
    const size_t end = std::min(option.takes.find(',', at), close);
    all.push_back({option.takes.substr(at, end - at)});
    at = end + 1;
  }
  return all;
}

bool takes_a_value(const OptionText& option) {
  return !option.takes.empty() && !option.takes.starts_with(" Needs");
}

const OptionText* option_called(const CommandText& command, const std::string& name) {
  for (const OptionText& option : command.options) {
    const std::vector<std::string> names = names_of(option);
    if (std::ranges::find(names, name) != names.end()) return &option;
  }
  return nullptr;
}

Candidates options_of(const CommandText& command) {
  Candidates all;
  for (const OptionText& option : command.options) {
    for (const std::string& name : names_of(option)) {
      if (name.starts_with('-')) all.push_back({name, option.help});
    }
  }
  return all;
}

Candidates commands_of(const std::vector<CommandText>& commands) {
  Candidates all;
  for (const CommandText& command : commands) all.push_back({command.name, command.help});
  all.push_back({"--help", "what there is"});
  all.push_back({"--version", ""});
  return all;
}

/// Candidates for the last of `words`, whatever of it is written.
Candidates candidates_for(const std::vector<CommandText>& commands, std::vector<std::string> words) {
  const auto dashes = std::find(words.begin(), words.end(), "--");
  if (words.front() == "launch" && dashes != words.end()) {  // then comes the command that it launches
    words.erase(words.begin(), dashes + 1);
    if (words.size() < 2) return candidates({"isolate", "diagnose"});
  }
  const auto command = std::ranges::find(commands, words.front(), &CommandText::name);
  if (words.size() < 2) return commands_of(commands);
  if (command == commands.end()) return {{kFiles}};
  const std::string& last = words.back();
  if (const size_t equals = last.find('='); last.starts_with("--") && equals != std::string::npos) {
    const OptionText* option = option_called(*command, last.substr(0, equals));
    Candidates values = option == nullptr ? Candidates{} : values_of(*option);
    std::erase_if(values, [](const Candidate& value) { return value.word.starts_with('@'); });
    for (Candidate& value : values) value.word = last.substr(0, equals + 1) + value.word;
    return values;
  }
  const OptionText* before = option_called(*command, words[words.size() - 2]);
  if (before != nullptr && takes_a_value(*before)) return values_of(*before);
  if (last.starts_with('-')) return options_of(*command);
  return {{kFiles}};
}

}  // namespace

void add_complete(Program& program, Context& context) {
  Command command = program.command("complete", "what the last word may become, for shells");
  command.hide();
  command.on_run([&program, &context] {
    std::vector<std::string> words = context.beyond;
    if (words.empty()) words.emplace_back();
    for (const Candidate& one : candidates_for(program.commands(), words)) {
      if (one.word.starts_with('@') || one.word.starts_with(words.back()))
        one.help.empty() ? say("{}\n", one.word) : say("{}\t{}\n", one.word, one.help);
    }
  });
}

}  // namespace greta::cli
