#include "experiment/whatif.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/timing.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/matrix_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "io/json_fields.h"
#include "io/output_file.h"
#include "report/page.h"
#include "report/whatif.h"

namespace greta::cli {
namespace {

namespace fs = std::filesystem;

struct WhatifOptions {
  MatrixOptions matrix;  // prompts, layers, faults, directory
  std::vector<std::string> devices = {"sim:mi300x", "sim:h100", "cpu"};
};

/// What can be wrong with the list is found before anything runs.
void check_devices(const WhatifOptions& options, const Environment& environment) {
  for (size_t i = 0; i < options.devices.size(); ++i) {
    CommonOptions common = options.matrix.common;
    common.device = options.devices[i];
    chosen_isa(common, environment);
    if (std::find(options.devices.begin(), options.devices.begin() + static_cast<std::ptrdiff_t>(i),
                  common.device) != options.devices.begin() + static_cast<std::ptrdiff_t>(i)) {
      fail_input("--devices: {} is named twice", common.device);
    }
  }
}

UnitRun run_unit(const WhatifOptions& options, const Context& context, const std::string& device,
                 MatrixRequest request, const std::vector<FaultSpec>& faults = {}) {
  CommonOptions common = options.matrix.common;
  common.device = device;
  Engine engine = load_engine(common, context.environment);
  request.change = fault_change(engine, faults);
  return run_unit(engine, request);
}

MatrixRequest request_of(const WhatifOptions& options, const Context& context, const Model& model) {
  MatrixRequest request;
  request.prompts = load_prompts(options.matrix, context.environment, model);
  request.layers = parse_layers(options.matrix.layers, model.config.n_layer);
  request.routes = route_rules(options.matrix.common);
  return request;
}

void describe(const WhatifOptions& options, const Context& context, const MatrixRequest& request,
              const Verdict& verdict, WhatIf& result) {
  result.model_name = verdict.model_name.empty() ? verdict.model_file : verdict.model_name;
  result.model_file = verdict.model_file;
  result.model_hash = verdict.model_hash;
  result.isa = verdict.isa;
  result.kv_format = verdict.kv_format;
  result.sim_input = options.matrix.common.sim_input;
  result.command_line = context.command_line;
  result.routes = options.matrix.common.routes;
  result.injected = options.matrix.inject;
  for (const Prompt& prompt : request.prompts)
    result.prompts.emplace_back(prompt.id, std::ssize(prompt.tokens));
  result.layers = request.layers;
}

WhatIf measure(const WhatifOptions& options, const Context& context) {
  const Stopwatch clock;
  const Model model = open_model(options.matrix.common.model);
  const MatrixRequest request = request_of(options, context, model);
  const std::vector<FaultSpec> faults = parse_faults(options.matrix.inject, model.config.n_layer);
  WhatIf result;
  Progress progress;  // gone before the table is printed
  const int total = static_cast<int>(options.devices.size()) + 1;
  const auto step = [&](int done, const std::string& label) {
    throw_if_interrupted("interrupted");
    progress.show(done, total, label);
  };
  step(0, "reference");
  MatrixRequest plain = request;
  plain.routes = reference_routes();
  const UnitRun reference = run_unit(options, context, "cpu", plain);
  describe(options, context, request, reference.verdict, result);
  result.reference = compare_units(reference, reference, model.config);
  for (int i = 0; i + 1 < total; ++i) {
    const std::string& device = options.devices[static_cast<size_t>(i)];
    step(i + 1, device);
    result.units.push_back(
        compare_units(reference, run_unit(options, context, device, request, faults), model.config));
  }
  result.seconds = clock.seconds();
  return result;
}

void run_whatif(const WhatifOptions& options, Context& context) {
  check_devices(options, context.environment);
  const std::string& out = options.matrix.out;
  if (!out.empty()) make_directory(out, options.matrix.force);
  const WhatIf result = measure(options, context);
  const std::string json = dump_json(report::whatif_json(result), 2) + "\n";
  if (!out.empty()) {
    replace_file((fs::path(out) / "whatif.json").string(), json);
    replace_file((fs::path(out) / "drift.svg").string(), report::whatif_svg(result));
    replace_file((fs::path(out) / "report.html").string(),
                 report::document_page("what if: " + result.model_name, {report::whatif_report(result)},
                                       report::whatif_svg(result)));
  }
  if (options.matrix.common.json) {
    say_report(json);
  } else {
    say_report(report::whatif_report(result));
    if (!out.empty()) say("\n{}\n  whatif.json drift.svg report.html\n", out);
  }
  context.exit_code = exit_code_of(result);
}

}  // namespace

void add_whatif(Program& program, Context& context) {
  auto options = std::make_shared<WhatifOptions>();
  MatrixOptions& matrix = options->matrix;
  matrix.prompts = {"p4_sys"};
  Command command = program.command("whatif", "the same prompt as other units compute it");
  add_model_option(command, matrix.common);
  add_json_option(command, matrix.common);
  command.option("--devices", options->devices, "cpu (the planner's routes), sim:mi300x, ...")
      .comma_separated()
      .shows_default()
      .takes("LIST");
  add_prompt_options(command, matrix);
  command.option("--layers", matrix.layers, "all, 0, 0-3 or 0,5,29").shows_default().takes("LIST");
  command.option("--inject", matrix.inject, "a bug in all but the reference").takes("FAULT").repeatable();
  command.option("--out", matrix.out, "directory for report.html, whatif.json, drift.svg").takes("DIR");
  command.flag("--force", matrix.force, "write into a directory that exists");
  add_engine_options(command, matrix.common);
  command.remove("--device");  // --devices lists them
  command.footer(
      "Always run besides: the reference, the cpu's vector route (f32 FMA).\n"
      "Exit code 0: every stage is within its unit's bound; 1: one is not.\n"
      "Example:\n  greta whatif -m model.gguf --devices sim:mi300x,sim:h100,cpu --out result");
  command.on_run([options, &context] { run_whatif(*options, context); });
}

}  // namespace greta::cli
