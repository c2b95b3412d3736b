#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/selftest_power.h"
#include "fault/fault.h"
#include "report/metamorphic.h"
#include "selftest/metamorphic.h"

namespace greta::cli {
namespace {

struct SelftestOptions {
  PowerOptions power;
  bool metamorphic = false;
  std::vector<std::string> inject;
};

void run_metamorphic(const SelftestOptions& chosen, Context& context) {
  const CommonOptions& options = chosen.power.common;
  Model model = open_model(options.model);
  MetamorphicRequest request;
  request.routes = chosen_routes(options, context.environment);
  request.threads = chosen_threads(options);
  std::vector<FaultSpec> faults = parse_faults(chosen.inject, model.config.n_layer);
  CommonOptions engine_options = options;
  engine_options.threads = engine_threads_for_metamorphic(request.threads);
  Engine engine = load_engine(engine_options, context.environment, std::move(model));
  request.change = fault_change(engine, std::move(faults));
  const std::vector<MetamorphicCheck> checks = [&] {
    Progress progress;  // gone before the table is printed
    request.step = [&](int done, int total, const std::string& label) {
      throw_if_interrupted("interrupted");
      progress.show(done, total, label);
    };
    return run_metamorphic(engine, request);
  }();
  if (options.json) {
    say_json(report::metamorphic_json(checks), 2);
  } else {
    say_report(report::metamorphic_report(checks));
  }
  context.exit_code = count(checks, CheckResult::failed) > 0 ? 1 : 0;
}

}  // namespace

void add_selftest(Program& program, Context& context) {
  auto options = std::make_shared<SelftestOptions>();
  Command command = program.command("selftest", "the power of the diagnosis, measured with faults");
  add_power_options(command, options->power);
  const Option metamorphic = command.flag("--metamorphic", options->metamorphic,
                                          "the engine against itself instead, with no reference");
  command.option("--inject", options->inject, "FAULT[@PHASE][:LAYER][,S>n], see faults")
      .takes("FAULT")
      .repeatable()
      .needs(metamorphic);
  command.footer(
      "Exit code 0: every total holds; 1: one does not.\n"
      "Example: greta selftest -m model.gguf --quick\n"
      "Example: greta selftest --metamorphic -m model.gguf --inject wq_column_major");
  command.on_run([options, &context] {
    options->metamorphic ? run_metamorphic(*options, context) : run_power(options->power, context);
  });
}

}  // namespace greta::cli
