
#include <nlohmann/json.hpp>

#include "bundle/bundle_files.h"
#include "cli/commands.h"
#include "cli/matrix_options.h"
#include "cli/output.h"

namespace greta::cli {
namespace {

void run_trace(const MatrixOptions& options, const Context& context) {
  const RouteTable routes = chosen_routes(options.common, context.environment);
  const MatrixRun matrix = run_matrix(options, context, {experiment_of(routes)}, routes);
  const Bundle& bundle = matrix.bundle;
  write_attn_pipe(bundle, context.environment);
  if (options.common.json) {
    const nlohmann::json json = {{"directory", matrix.directory}, {"events", bundle.events.size()}};
    say_json(json);
  } else {
    say("{} events in {}, {}\nNext: greta diagnose {} -m {}\n", bundle.events.size(), matrix.directory,
        size_of_files(matrix.directory), matrix.directory, options.common.model);
  }
}

}  // namespace

void add_trace(Program& program, Context& context) {
  auto options = std::make_shared<MatrixOptions>();
  Command command = program.command("trace", "record a prompt's prefill and decode as a bundle");
  add_matrix_options(command, *options);
  add_attn_pipe_options(command, context.environment);
  command.option("-p,--prompt", options->prompts, "a built-in prompt, a text file or a text")
      .required()
      .single()
      .takes("PROMPT");
  command.option("--out", options->out, "directory to create").required().takes("DIR");
  command.footer("Example: greta trace -m model.gguf -p p4_sys --route all=vector --out trace");
  command.on_run([options, &context] { run_trace(*options, context); });
}

}  // namespace greta::cli
