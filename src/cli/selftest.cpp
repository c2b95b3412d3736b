#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/selftest_power.h"
#include "fault/fault.h"
#include "selftest/metamorphic.h"

namespace greta::cli {
namespace {

struct Options {
  PowerOptions power;
  bool metamorphic = false;
  std::vector<std::string> inject;
};

std::string labels(const MetamorphicCheck& check, bool passed) {
  std::string text;
  for (const CheckCase& one : check.cases) {
    if (one.deviation.has_value() == passed) continue;
    text += (text.empty() ? "" : ", ") + one.label;
  }
  return text;
}

/// A line per check, at most 80 columns; what failed says where.
void print(const MetamorphicCheck& check) {
  const CheckResult result = check.result();
  const auto good =
      std::count_if(check.cases.begin(), check.cases.end(), [](const CheckCase& c) { return !c.deviation; });
  const bool ran = result != CheckResult::not_applicable;
  say("{:<7} {:<22} {:>5}  {}\n",
      result == CheckResult::failed ? "FAILED"
      : ran                         ? "passed"
                                    : "n/a",
      check.name, ran ? fmt::format("{}/{}", good, check.cases.size()) : "", check.states);
  if (result == CheckResult::failed) {
    const std::string holds = labels(check, true);
    say("        fails: {}\n", labels(check, false));
    if (!holds.empty()) say("        holds: {}\n", holds);
    const auto first =
        std::find_if(check.cases.begin(), check.cases.end(), [](const CheckCase& c) { return c.deviation; });
    say("        first: {}\n               {}\n", place(*first->deviation), values(*first->deviation));
  }
  if (!check.why_not.empty()) say("        note: {}\n", check.why_not);
}

void run_metamorphic(const Options& chosen, Context& context) {
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
  const nlohmann::json json = to_json(checks);
  const int failed = json["failed"];
  if (options.json) {
    say_json(json, 2);
  } else {
    say("{:<7} {:<22} {:>5}  {}\n", "result", "check", "cases", "what must hold, bit for bit");
    for (const MetamorphicCheck& check : checks) print(check);
    say("{} passed, {} failed, {} not applicable\n", json["passed"].get<int>(), failed,
        json["not_applicable"].get<int>());
  }
  context.exit_code = failed > 0 ? 1 : 0;
}

}  // namespace

void add_selftest(Program& program, Context& context) {
  auto options = std::make_shared<Options>();
  Command command = program.command("selftest", "the power of the diagnosis, measured with faults");
  add_power_options(command, options->power);
  const Option metamorphic = command.flag("--metamorphic", options->metamorphic,
                                          "the engine against itself instead, with no reference");
  command.option("--inject", options->inject, "a bug: FAULT[@PHASE][:LAYER][,S>n] (greta faults)")
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
