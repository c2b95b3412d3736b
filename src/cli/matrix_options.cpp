#include "cli/matrix_options.h"

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "base/error.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "io/output_file.h"
#include "model/prompt.h"
#include "report/attn_pipe.h"

namespace greta::cli {
namespace {

int parse_layer(const std::string& text, const std::string& list, int64_t n_layer) {
  const bool digits =
      !text.empty() && text.size() < 6 && text.find_first_not_of("0123456789") == std::string::npos;
  if (!digits) fail_input("--layers {}: \"{}\" is no layer; use all, 0, 0-3 or 0,5,29", list, text);
  const int layer = std::stoi(text);
  if (layer >= n_layer) fail_input("--layers {}: the model has layers 0 to {}", list, n_layer - 1);
  return layer;
}

Keep keep_of(const MatrixOptions& options) {
  return options.tensors == "all" ? Keep::all : (options.tensors == "first" ? Keep::first : Keep::none);
}

}  // namespace

void add_matrix_options(Command& command, MatrixOptions& options) {
  add_model_option(command, options.common);
  add_json_option(command, options.common);
  command.option("--layers", options.layers, "all, 0, 0-3 or 0,5,29").shows_default().takes("LIST");
  command.option("--inject", options.inject, "FAULT[@PHASE][:LAYER][,S>n], see faults")
      .takes("FAULT")
      .repeatable();
  command.flag("--force", options.force, "overwrite a bundle in the directory");
  command.option("--tensors", options.tensors, "data kept: none, of the first traced layer, all")
      .one_of({"none", "first", "all"})
      .shows_default();
  command.flag("--no-align", options.no_align, "decode0 is the next token: not comparable");
  add_engine_options(command, options.common);
}

void add_prompt_options(Command& command, MatrixOptions& options) {
  command.option("--prompts", options.prompts, "built-in prompts or text files")
      .comma_separated()
      .shows_default()
      .takes("LIST");
  command.option("-p,--prompt", options.own_prompts, "instead: a name, a file or a text")
      .repeatable()
      .takes("PROMPT");
}

void add_attn_pipe_options(Command& command, Environment& environment) {
  command.option("--prompt-id", environment.trace_prompt_id, "label of the prompt in the trace")
      .takes("LABEL");
  const Option file =
      command.option("--attn-pipe", environment.attn_pipe_file, "layer 0's attention, head 0, as JSON lines")
          .takes("FILE");
  command.flag("--attn-pipe-norm", environment.trace_attn_l0_norm, "they also have the norm before it")
      .needs(file);
}

std::vector<int> parse_layers(const std::string& text, int64_t n_layer) {
  std::vector<int> layers;
  if (text == "all") {
    for (int i = 0; i < n_layer; ++i) layers.push_back(i);
    return layers;
  }
  std::istringstream in(text);
  for (std::string item; std::getline(in, item, ',');) {
    const size_t dash = item.find('-');
    const int first = parse_layer(item.substr(0, dash), text, n_layer);
    const int last = dash == std::string::npos ? first : parse_layer(item.substr(dash + 1), text, n_layer);
    if (last < first) fail_input("--layers {}: {} is before {}", text, last, first);
    for (int i = first; i <= last; ++i) layers.push_back(i);
  }
  if (layers.empty()) fail_input("--layers: no layer given; use all, 0, 0-3 or 0,5,29");
  std::sort(layers.begin(), layers.end());
  layers.erase(std::unique(layers.begin(), layers.end()), layers.end());
  return layers;
}

std::vector<Prompt> load_prompts(const MatrixOptions& options, const Environment& environment,
                                 const Model& model) {
  const Tokenizer tokenizer = Tokenizer::from(model.file);
  std::vector<Prompt> prompts;
  const std::vector<std::string>& names = options.own_prompts.empty() ? options.prompts : options.own_prompts;
  for (const std::string& name : names) {
    Prompt prompt = load_prompt(name, model.file);
    if (prompt.id == "text" && !prompts.empty()) prompt.id += std::to_string(prompts.size() + 1);
    if (!environment.trace_prompt_id.empty()) {
      if (names.size() > 1) {
        fail_input("GRETA_TRACE_PROMPT_ID (--prompt-id) labels one prompt, and {} are given (--prompts)",
                   names.size());
      }
      prompt.id = environment.trace_prompt_id;
    }
    for (const Prompt& other : prompts) {
      if (other.id == prompt.id) fail_input("two prompts are called {}; rename one of the files", prompt.id);
    }
    prompts.push_back(encoded(std::move(prompt), tokenizer));
  }
  return prompts;
}

MatrixRun run_matrix(const MatrixOptions& options, const Context& context,
                     std::vector<Experiment> experiments, const RouteTable& routes) {
  check_attn_pipe(context.environment);
  Model model = open_model(options.common.model);
  MatrixRequest request;
  request.experiments = std::move(experiments);
  request.prompts = load_prompts(options, context.environment, model);
  request.layers = parse_layers(options.layers, model.config.n_layer);
  request.routes = routes;
  request.drawn = options.drawn;
  request.aligned = !options.no_align && context.environment.align_decode.value_or(true);
  std::vector<FaultSpec> faults = parse_faults(options.inject, model.config.n_layer);
  MatrixRun run{
      std::unique_ptr<Engine>(new Engine(load_engine(options.common, context.environment, std::move(model)))),
      std::move(request),
      options.out,
      {}};
  run.request.change = fault_change(*run.engine, std::move(faults));
  Progress progress;
  run.bundle = record_matrix(
      *run.engine, run.request,
      {.directory = run.directory,
       .force = options.force,
       .keep = keep_of(options),
       .origin = {.command_line = context.command_line,
                  .environment = context.environment.set,
                  .routes = options.common.routes,
                  .injected = options.inject},
       .progress = [&](int done, int total, const std::string& label) {
         throw_if_interrupted("interrupted; the bundle in " + run.directory + " is readable up to here");
         progress.show(done, total, label);
       }});
  return run;
}

void check_attn_pipe(const Environment& environment) {
  if (environment.trace_attn_l0_pipe && environment.attn_pipe_file.empty()) {
    fail_input("GRETA_TRACE_ATTN_L0_PIPE=1 needs GRETA_TRACE_ATTN_L0_PIPE_OUT=FILE");
  }
}

void write_attn_pipe(const Bundle& bundle, const Environment& environment) {
  if (environment.attn_pipe_file.empty()) return;
  OutputFile file(environment.attn_pipe_file, ErrorKind::input);
  for (const Event& event : bundle.events) {
    const bool phase = event.seen() == Seen::prefill_last || event.seen() == Seen::decode0;
    if (event.layer != 0 || event.stage != name(Stage::q) || !phase) continue;
    const AttnPipe pipe =
        attn_pipe_from(bundle.events, bundle, event.cell, event.phase, environment.trace_attn_l0_norm);
    file.write(attn_pipe_line(pipe) + "\n");
  }
  file.close();
}

void trace_attn_pipe(Engine& engine, const Prompt& prompt, const RouteTable& routes,
                     const Environment& environment) {
  check_attn_pipe(environment);
  if (environment.attn_pipe_file.empty()) return;
  MatrixRequest request;
  request.experiments = {experiment_of(routes)};
  request.prompts = {prompt};
  request.layers = {0};
  request.routes = routes;
  request.aligned = environment.align_decode.value_or(true);
  write_attn_pipe(record_matrix(engine, request), environment);
}

}  // namespace greta::cli
