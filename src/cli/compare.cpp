#include "base/error.h"
#include "bundle/join.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verdict_output.h"
#include "judge/bundle_check.h"
#include "judge/compare_bundles.h"
#include "model/half_known.h"
#include "report/comparison.h"
#include "report/format.h"

namespace greta::cli {
namespace {

struct CompareOptions {
  CommonOptions common;
  std::string a, b;
  bool force = false;
};

void run_compare(const CompareOptions& options, Context& context) {
  const Bundle a = joined(read_bundle(options.a));
  const Bundle b = joined(read_bundle(options.b));
  for (const Bundle* bundle : {&a, &b}) {
    for (const std::string& note : bundle->notes) say(stderr, "greta: note: {}: {}\n", bundle->path, note);
  }
  std::optional<Model> model;
  if (!options.common.model.empty()) model = open_known_model(options.common.model);
  if (model) say_not_known(*model);
  for (const Bundle* bundle : {&a, &b}) {
    if (model) {
      check_fits(*bundle, *model, options.force);
    } else {
      check_intact(*bundle, options.force);
    }
  }
  BundleComparison result;
  {
    Progress progress;  // gone before the result is printed
    result = compare_bundles(a, b, model ? &*model : nullptr, chosen_threads({}),
                             judging(progress, "interrupted"));
  }
  if (options.common.is_for_machines()) {
    const std::string format = options.common.json ? "json" : options.common.format;
    if (format == "github") add_step_summary(context, report::to_markdown(report::comparison_report(result)));
    say_report(report::in_format(result, options.a, options.b, format));
  } else {
    say_report(report::comparison_report(result));
  }
  context.exit_code = exit_code(result.status);
}

}  // namespace

void add_compare(Program& program, Context& context) {
  auto options = std::make_shared<CompareOptions>();
  Command command = program.command("compare", "two bundles stage by stage");
  command.option("A", options->a, "a bundle: directory or .tgz").required();
  command.option("B", options->b, "another one").required();
  command.option("-m,--model", options->common.model, "to judge differences against rounding noise")
      .takes("PATH");
  add_format_options(command, options->common);
  command.flag("--force", options->force, "compare damaged bundles, or another model's");
  command.footer("Example: greta compare trace-a trace-b -m model.gguf");
  command.on_run([options, &context] { run_compare(*options, context); });
}

}  // namespace greta::cli
