#pragma once
// What isolate and trace share:
// prompts, layers, faults, the bundle's directory, and running the matrix into a bundle.

#include <memory>

#include "cli/common.h"
#include "fault/fault.h"
#include "record/matrix.h"

namespace greta::cli {

struct MatrixOptions {
  CommonOptions common;
  std::vector<std::string> prompts;
  std::vector<std::string> own_prompts = {};  // -p; in the place of `prompts` where there are any
  std::string layers = "all";
  std::vector<std::string> inject;
  std::string out;
  std::string tensors = "all";
  bool force = false;
  bool no_align = false;
  DrawnRows drawn = {};  // rows that are judged besides the fixed ones
};

/// --layers, --inject, --out, --force, --tensors, --no-align and the engine's options.
void add_matrix_options(Command& command, MatrixOptions& options);

/// --prompts and -p.
void add_prompt_options(Command& command, MatrixOptions& options);

/// --prompt-id, --attn-pipe, --attn-pipe-norm: they win over the variables, which were read before.
void add_attn_pipe_options(Command& command, Environment& environment);

/// "all", "0", "0-3", "0,5,29". Throws an input Error for what is no list of layers of the model.
std::vector<int> parse_layers(const std::string& text, int64_t n_layer);

/// --prompts, encoded for the model. Input Errors: no such prompt, two of one name.
std::vector<Prompt> load_prompts(const MatrixOptions& options, const Environment& environment,
                                 const Model& model);

/// A loaded engine and a recorded matrix.
struct MatrixRun {
  std::unique_ptr<Engine> engine;
  MatrixRequest request;
  std::string directory;
  Bundle bundle;
};

/// Checks everything that can be checked, creates `options.out`,
/// runs and records `experiments` on top of `routes`.
MatrixRun run_matrix(const MatrixOptions& options, const Context& context,
                     std::vector<Experiment> experiments, const RouteTable& routes);

/// An input Error when GRETA_TRACE_ATTN_L0_PIPE is set without a file to write to.
void check_attn_pipe(const Environment& environment);

/// Runs and records layer 0 of one prompt for the JSONL alone (greta run), if it is asked for.
void trace_attn_pipe(Engine& engine, const Prompt& prompt, const RouteTable& routes,
                     const Environment& environment);

/// Writes the JSONL of B3.31 if GRETA_TRACE_ATTN_L0_PIPE asks for it.
void write_attn_pipe(const Bundle& bundle, const Environment& environment);

}  // namespace greta::cli
