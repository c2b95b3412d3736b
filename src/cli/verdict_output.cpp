#include "cli/verdict_output.h"

#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/output.h"
#include "judge/bundle_check.h"
#include "report/format.h"

namespace greta::cli {

void add_format_options(Command& command, CommonOptions& options) {
  add_json_option(command, options);
  add_format_option(command, options);
}

void add_format_option(Command& command, CommonOptions& options) {
  command.option("--format", options.format, "on stdout, in the place of the text")
      .takes("FORMAT")
      .one_of(report::format_names());
}

void add_archive_option(Command& command, CommonOptions& options) {
  command.flag("--archive", options.archive, "all of --out in artifacts.tgz as well, to hand on");
}

void check_fits(const Bundle& bundle, Model& model, bool force) {
  const std::string taken = check_bundle(bundle, model, force);
  if (!taken.empty()) say(stderr, "greta: note: {}: {}\n", bundle.path, taken);
}

void say_not_known(const Model& model) {
  if (!model.not_known.empty())
    say(stderr, "greta: note: {}. Judged is what is known all the same\n", model.not_known);
}

void add_step_summary(const Context& context, const std::string& summary) {
  const std::string& path = context.environment.github_step_summary;
  if (path.empty()) return;
  std::ofstream file(path, std::ios::app | std::ios::binary);
  file << summary << "\n";
  if (!file.flush()) say(stderr, "greta: note: cannot write {}: no step summary\n", path);
}

void say_verdict(const report::Report& report, const CommonOptions& options, const Context& context) {
  if (options.format == "github") add_step_summary(context, report::markdown(report, Language::english));
  if (!options.format.empty()) {
    say_report(report::in_format(report, options.format));
  } else if (options.json) {
    say_json(report::to_json(report.verdict), 2);
  } else {
    say_report(report::terminal(report, isatty(STDOUT_FILENO) != 0));
  }
}

}  // namespace greta::cli
