#include "experiment/bound.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/nearest.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/matrix_options.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "report/bound.h"

namespace greta::cli {
namespace {

struct BoundOptions {
  MatrixOptions matrix;  // prompts, layers
  std::string stage = "logits", precision = "bf16";
  int draws = 16;
  int64_t seed = 1;
};

constexpr const char* kLogprobs = "logprobs";

std::vector<std::string> precision_names() {
  std::vector<std::string> names;
  for (const Precision& precision : precisions()) names.emplace_back(precision.name);
  return names;
}

/// Of --stage, where it is no "logprobs".
Stage stage_of(const std::string& text, const ModelConfig& config) {
  std::vector<std::string> known{kLogprobs};
  for (const StageInfo& row : kStageTable) {
    if (has_stage(config, {is_outside_layers(row.stage) ? kNoLayer : 0, row.stage}))
      known.emplace_back(row.name);
  }
  if (std::find(known.begin(), known.end(), text) == known.end())
    fail_input("--stage {}: the model has no such stage{}", text, did_you_mean(text, known));
  return *stage_from_name(text);
}

BoundRequest request_of(const BoundOptions& options, const Context& context, const Model& model) {
  BoundRequest request;
  request.prompts = load_prompts(options.matrix, context.environment, model);
  request.logprobs = options.stage == kLogprobs;
  request.stage = request.logprobs ? Stage::logits : stage_of(options.stage, model.config);
  request.layers = parse_layers(options.matrix.layers, model.config.n_layer);
  request.draws = options.draws;
  request.seed = static_cast<uint64_t>(options.seed);
  for (const Precision& precision : precisions()) {
    if (precision.name == options.precision) request.precision = precision;
  }
  return request;
}

void run_bound(const BoundOptions& options, const Context& context) {
  const CommonOptions& common = options.matrix.common;
  Model model = open_model(common.model);
  BoundRequest request = request_of(options, context, model);
  Engine engine = load_engine(common, context.environment, std::move(model));
  RoundingBound result;
  {
    Progress progress;  // gone before the report is printed
    request.progress = [&progress](int done, int total, const std::string& label) {
      throw_if_interrupted("interrupted");
      progress.show(done, total, label);
    };
    result = measure_bound(engine, request);
  }
  result.model_file = common.model;
  result.command_line = context.command_line;
  if (common.json) {
    say_json(report::bound_json(result), 2);
  } else {
    say_report(report::bound_report(result));
  }
}

}  // namespace

void add_bound(Program& program, Context& context) {
  auto options = std::make_shared<BoundOptions>();
  MatrixOptions& matrix = options->matrix;
  for (const std::string_view name : built_in_prompts()) matrix.prompts.emplace_back(name);
  Command command = program.command("bound", "how far right runs may differ: thresholds");
  add_model_option(command, matrix.common);
  add_json_option(command, matrix.common);
  command.option("--stage", options->stage, "logits, logprobs, or a stage such as q")
      .shows_default()
      .takes("STAGE");
  command.option("--precision", options->precision, "what results, or (int8) inputs, are rounded to")
      .one_of(precision_names())
      .shows_default();
  add_prompt_options(command, matrix);
  command.option("--layers", matrix.layers, "of a stage: all, 0, 0-3 or 0,5,29")
      .shows_default()
      .takes("LIST");
  command.option("--draws", options->draws, "of roundings, a run each")
      .range(2, 1000)
      .shows_default()
      .takes("N");
  command.option("--seed", options->seed, "of the draws").shows_default().takes("N");
  add_engine_options(command, matrix.common);
  for (const char* name : {"--device", "--sim-input", "--invariant", "--route", "--kv"}) command.remove(name);
  command.footer(
      "Runs the model in f32 as it is, and with roundings drawn by chance.\n"
      "Example:\n  greta bound -m model.gguf --stage logprobs --precision bf16 --json");
  command.on_run([options, &context] { run_bound(*options, context); });
}

}  // namespace greta::cli
