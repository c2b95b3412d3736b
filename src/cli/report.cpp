#include "report/report.h"

#include "base/error.h"
#include "base/timing.h"
#include "bundle/join.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verdict_output.h"
#include "io/output_file.h"
#include "judge/judge.h"
#include "report/format.h"
#include "report/stored_verdict.h"

namespace greta::cli {
namespace {

struct ReportOptions {
  CommonOptions common;
  std::string path, out;
  bool force = false;
};

Verdict judged(const ReportOptions& options) {
  const Stopwatch clock;
  const Bundle bundle = joined(read_bundle(options.path));
  Model model = open_model(options.common.model);
  check_fits(bundle, model, options.force);
  Progress progress;
  return completed(
      judge(bundle, model,
            {.threads = chosen_threads(options.common), .step = judging(progress, "interrupted")}),
      {.seconds = clock.seconds()});
}

void run_report(ReportOptions& options, Context& context) {
  const Verdict verdict = options.common.model.empty() ? report::read_verdict(options.path) : judged(options);
  const report::Report report(verdict);
  if (options.common.json) options.common.format = "json";
  if (options.out.empty()) {
    say_verdict(report, options.common, context);
  } else {
    const std::string format = options.common.format.empty() ? "html" : options.common.format;
    replace_file(options.out, report::in_format(report, format), ErrorKind::input);
  }
  context.exit_code = exit_code(verdict.status);
}

}  // namespace

void add_report(Program& program, Context& context) {
  auto options = std::make_shared<ReportOptions>();
  Command command = program.command("report", "a verdict in another form: a page, CI, agents");
  command.option("PATH", options->path, "what isolate or diagnose left: a directory or .tgz").required();
  command.option("-m,--model", options->common.model, "judge the bundle anew, by this model").takes("PATH");
  add_format_options(command, options->common);
  command.option("--out", options->out, "file to write; without --format a page").takes("FILE");
  command.flag("--force", options->force, "judge a damaged or other model's bundle");
  command.footer(
      "The exit code is the verdict's.\n"
      "Example: greta report result --format junit --out greta.xml");
  command.on_run([options, &context] { run_report(*options, context); });
}

}  // namespace greta::cli
