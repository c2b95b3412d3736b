#include "cli/launch_errand.h"

#include <algorithm>
#include <filesystem>
#include <random>

#include "base/error.h"
#include "cli/commands.h"

namespace greta::cli {
namespace {

namespace fs = std::filesystem;

/// What ARGS would read and write. An input Error for what cannot be launched.
Inspection inspected(const std::vector<std::string>& arguments, const Context& context) {
  if (arguments.empty()) fail_input("launch: say what to run: greta launch HOST -- isolate -m MODEL.gguf");
  if (arguments.front() != "isolate" && arguments.front() != "diagnose")
    fail_input("launch runs isolate or diagnose, not {}", arguments.front());
  Inspection inspection;
  Context own;
  own.environment = context.environment;
  own.inspected = &inspection;
  if (const auto answer = whole_program(own)->parse(arguments)) {
    if (answer->complaint.empty()) fail_input("launch: greta {} --help says it here", arguments.front());
    std::string complaint = answer->complaint;
    std::ranges::replace(complaint, '\n', ' ');
    fail_input("after --: {}", complaint);
  }
  if (!inspection.out.empty())
    fail_input("launch: leave --out out: results go to artifacts_remote/DATE/NAME");
  if (!inspection.part.empty()) fail_input("launch: leave --part out: it shares the work itself");
  return inspection;
}

/// --json and --format, which say how the last program prints.
std::vector<std::string> taken_printing(std::vector<std::string>& arguments) {
  std::vector<std::string> printing, others;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const bool format = arguments[i] == "--format";
    const bool printed = format || arguments[i] == "--json" || arguments[i].starts_with("--format=");
    (printed ? printing : others).push_back(arguments[i]);
    if (format && i + 1 < arguments.size()) printing.push_back(arguments[++i]);
  }
  arguments = std::move(others);
  return printing;
}

}  // namespace

void set_apart_what_is_beyond(std::vector<std::string>& arguments, Context& context) {
  if (arguments.empty() || (arguments.front() != "launch" && arguments.front() != "complete")) return;
  const auto at = std::ranges::find(arguments, "--");
  if (at == arguments.end() && arguments.front() == "complete") return;
  if (at == arguments.end()) {
    for (const char* command : {"isolate", "diagnose"}) {
      if (std::ranges::find(arguments, command) != arguments.end())
        fail_input("launch: put -- before {0}: greta launch HOST -- {0} ...", command);
    }
    return;
  }
  context.beyond.assign(at + 1, arguments.end());
  arguments.erase(at, arguments.end());
}

launch::Errand errand_of(const LaunchOptions& options, const Context& context) {
  const Inspection inspection = inspected(context.beyond, context);
  launch::Errand errand;
  errand.arguments = context.beyond;
  errand.program = options.program.empty() ? fs::read_symlink("/proc/self/exe").string() : options.program;
  errand.program_there = options.program_there;
  errand.model_there = options.model_there;
  errand.base = options.base;
  errand.is_shared = options.slurm;
  errand.printing = taken_printing(errand.arguments);
  if (inspection.seed == 0)  // the same for all parts
    errand.arguments.insert(errand.arguments.end(),
                            {"--seed", fmt::format("{}", std::random_device()() | 1U)});
  const bool here = options.hosts.empty();
  const auto absolute = [&](const std::string& path) {
    const std::string whole = fs::absolute(path).lexically_normal().string();
    errand.arguments = launch::with_path(std::move(errand.arguments), path, whole);
    return whole;
  };
  if (!inspection.model.empty()) errand.model = absolute(inspection.model);
  for (const std::string& file : inspection.files) {
    if (!fs::exists(file)) fail_input("{}: there is no such file here", file);
    if (here)
      absolute(file);
    else
      errand.luggage.push_back({file, "luggage/" + fs::path(file).filename().string()});
  }
  errand.writes = inspection.attn_pipe;
  errand.environment = context.environment.set;
  return errand;
}

}  // namespace greta::cli
