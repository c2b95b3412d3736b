#include "cli/part.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/verdict_output.h"
#include "io/output_file.h"

namespace greta::cli {
namespace {

std::string model_of(const Bundle& bundle) {
  const nlohmann::json model = bundle.manifest.value("model", nlohmann::json::object());
  return model.is_object() ? model.value("hash", "") : "";
}

/// Without what each part has for itself, and how results are printed.
std::vector<std::string> shared_arguments(const std::vector<std::string>& arguments) {
  struct Own {
    std::string name;
    bool has_value;
  };
  static const std::vector<Own> kOwn = {
      {"--part", true}, {"--out", true}, {"--format", true}, {"--json", false}, {"--force", false}};
  std::vector<std::string> shared;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const auto own = std::ranges::find_if(kOwn, [&](const Own& option) {
      return arguments[i] == option.name || (option.has_value && arguments[i].starts_with(option.name + "="));
    });
    if (own == kOwn.end())
      shared.push_back(arguments[i]);
    else if (own->has_value && arguments[i] == own->name)
      ++i;
  }
  return shared;
}

}  // namespace

void add_part_option(Command& command, std::string& part) {
  command.option("--part", part, "judge the i-th of n parts of the stages, for merge").takes("I/N");
}

Share chosen_part(const std::string& part, const std::string& out) {
  if (part.empty()) return {};
  const Share chosen = parse_part(part);
  if (out.empty()) fail_input("--part {} needs --out DIR: what it judged is left there for merge", part);
  return chosen;
}

KnownJudgements known_from_parts(const Context& context, const Bundle& bundle) {
  KnownJudgements known;
  for (const std::string& directory : context.parts) {
    JudgedPart part = read_part(directory);
    if (part.model != model_of(bundle))
      fail_input("{}: is a part of another model's run ({}; this is {})", directory, part.model,
                 model_of(bundle));
    known.merge(part.judgements);
  }
  return known;
}

void write_part(const Context& context, const CommonOptions& options, const Bundle& bundle, const Share& part,
                const std::string& directory, KnownJudgements judgements) {
  const size_t count = judgements.size();
  const JudgedPart judged{.part = part,
                          .command = shared_arguments(context.arguments),
                          .model = model_of(bundle),
                          .judgements = std::move(judgements)};
  replace_file(directory + "/" + kPartFile, stored_part(judged));
  if (options.is_for_machines()) {
    const nlohmann::json json = {
        {"directory", directory}, {"part", part.number}, {"of", part.of}, {"judgements", count}};
    say_json(json);
  } else {
    say("part {} of {}: {} judgements in {}; greta merge joins all parts\n", part.number, part.of, count,
        directory);
  }
}

namespace {

struct MergeOptions {
  CommonOptions common;
  std::vector<std::string> directories;
  std::string out;
  bool force = false;
};

/// All of one run; notes those that are missing.
std::vector<std::string> shared_command(const std::vector<std::string>& directories) {
  const JudgedPart first = read_part(directories.front());
  // Its file says what is run: nothing but what makes parts.
  const std::string command = first.command.empty() ? "" : first.command.front();
  if (command != "isolate" && command != "diagnose")
    fail_input("{}: is no part of isolate or diagnose, but of \"{}\"", directories.front(), command);
  std::vector<char> there(static_cast<size_t>(first.part.of));
  for (const std::string& directory : directories) {
    const JudgedPart part = read_part(directory);
    if (part.command != first.command || part.part.of != first.part.of)
      fail_input("{} and {} are no parts of one run: their commands differ", directories.front(), directory);
    there[static_cast<size_t>(part.part.number - 1)] = 1;
  }
  for (size_t i = 0; i < there.size(); ++i) {
    if (there[i] == 0)
      say(stderr, "greta: note: part {} of {} is missing: its stages are judged now\n", i + 1, there.size());
  }
  return first.command;
}

void run_merge(const MergeOptions& options, Context& context) {
  std::error_code none;
  for (const std::string& part : options.directories) {
    if (std::filesystem::equivalent(part, options.out, none))
      fail_input("--out {}: is one of the parts, which would be overwritten", options.out);
  }
  context.again = shared_command(options.directories);
  context.parts = options.directories;
  context.again.insert(context.again.end(), {"--out", options.out});
  if (options.force) context.again.emplace_back("--force");
  if (options.common.json) context.again.emplace_back("--json");
  if (!options.common.format.empty())
    context.again.insert(context.again.end(), {"--format", options.common.format});
}

}  // namespace

void add_merge(Program& program, Context& context) {
  auto options = std::make_shared<MergeOptions>();
  Command command = program.command("merge", "join what isolate or diagnose --part judged");
  command.option("PART", options->directories, "the directories of the parts").required();
  command.option("--out", options->out, "directory for the whole run's results").required().takes("DIR");
  add_format_options(command, options->common);
  command.flag("--force", options->force, "overwrite results in the directory");
  command.footer(
      "Runs the parts' command as a whole, with what they judged: where they ran.\n"
      "The exit code is the verdict's.\n"
      "Example: greta merge part-1 part-2 --out result");
  command.on_run([options, &context] { run_merge(*options, context); });
}

}  // namespace greta::cli
