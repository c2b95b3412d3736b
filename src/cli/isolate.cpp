#include <fmt/chrono.h>

#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>

#include "base/error.h"
#include "base/timing.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/matrix_options.h"
#include "cli/output.h"
#include "cli/part.h"
#include "cli/progress.h"
#include "cli/verdict_output.h"
#include "cli/weight_verify.h"
#include "experiment/confirm.h"
#include "experiment/contract.h"
#include "experiment/repeat.h"
#include "judge/judge.h"
#include "model/prompt.h"
#include "report/report.h"
#include "report/weights.h"

namespace greta::cli {
namespace {

struct IsolateOptions {
  MatrixOptions matrix;
  std::string experiments = "E0,E1,E2,E3,E4", part;
  bool no_interventions = false;
  bool quick = false;
  uint64_t seed = 0;  // 0: drawn
};

constexpr int kDrawnRows = 2, kQuickRows = 1;  // of each prompt

std::string default_directory() {
  return fmt::format("greta-isolate-{:%Y%m%d-%H%M%S}", fmt::localtime(std::time(nullptr)));
}

std::vector<Finding> confirmed(const MatrixRun& matrix, std::vector<Finding> findings,
                               KnownJudgements& known) {
  Progress progress;
  int done = 0;
  return confirm(*matrix.engine, matrix.request, std::move(findings), &known, [&](const std::string& label) {
    throw_if_interrupted("interrupted while confirming; the bundle in " + matrix.directory + " is complete");
    progress.show(done, done + 1, label);
    ++done;
  });
}

/// What was convicted, against one more recording of it.
std::vector<Finding> held_again(const MatrixRun& matrix, std::vector<Finding> findings) {
  Progress progress;
  return hold_against_repetition(*matrix.engine, matrix.request, matrix.bundle, std::move(findings), [&] {
    throw_if_interrupted("interrupted; the bundle in " + matrix.directory + " is complete");
    progress.show(0, 1, "once more");
  });
}

/// What production's program computes, held against what was judged: where that is clean.
Contract contract_of(const MatrixRun& matrix, const Verdict& judged, bool quick) {
  const uint64_t seed = matrix.request.drawn.seed;
  if (!judged.findings.empty()) return {{}, unheld(*matrix.engine, matrix.request, matrix.bundle, seed)};
  Progress progress;
  int done = 0;
  return check_contract(
      *matrix.engine, matrix.request, matrix.bundle,
      {.seed = seed, .quick = quick, .step = [&](const std::string& label) {
         throw_if_interrupted("interrupted; the bundle in " + matrix.directory + " is complete");
         progress.show(done, done + 1, label);
         ++done;
       }});
}

Inspection inspected(const IsolateOptions& options, const std::string& attn_pipe) {
  const MatrixOptions& matrix = options.matrix;
  Inspection inspection{matrix.common.model, matrix.out, options.part, {}, options.seed, attn_pipe};
  for (const std::string& prompt : matrix.own_prompts.empty() ? matrix.prompts : matrix.own_prompts) {
    load_prompt(prompt);  // it is there, and is text
    if (!is_built_in_prompt(prompt) && std::filesystem::exists(prompt)) inspection.files.push_back(prompt);
  }
  return inspection;
}

void run_isolate(IsolateOptions& options, Context& context) {
  if (context.inspected != nullptr) {
    *context.inspected = inspected(options, context.environment.attn_pipe_file);
    return;
  }
  const Stopwatch clock;
  if (context.environment.qkv_force_route || context.environment.qkv_force_gemm) {
    say(stderr, "greta: note: isolate forces the routes of its experiments; GRETA_QKV_FORCE_* is not used\n");
  }
  const Share part = chosen_part(options.part, options.matrix.out);
  if (!part.is_whole()) {
    if (options.seed == 0) fail_input("--part {} needs --seed N: all parts must draw the same", options.part);
    options.matrix.tensors = "none";  // merge records them
  }
  options.matrix.drawn = {options.seed != 0 ? options.seed : std::random_device()(),
                          options.quick ? kQuickRows : kDrawnRows};
  if (options.matrix.out.empty()) options.matrix.out = default_directory();
  const MatrixRun matrix = run_matrix(options.matrix, context, parse_experiments(options.experiments),
                                      route_rules(options.matrix.common));
  const Bundle& bundle = matrix.bundle;
  KnownJudgements known = known_from_parts(context, bundle);
  std::optional<Progress> progress(std::in_place);
  const JudgeOptions how{
      .threads = matrix.engine->options().threads,
      .causes = part.is_whole() ? Causes::first : Causes::none,
      .part = part,
      .known = &known,
      .step = judging(*progress, "interrupted; the bundle in " + matrix.directory + " is complete")};
  Verdict judged = judge(bundle, matrix.engine->model(), how);
  progress.reset();
  if (!part.is_whole())
    return write_part(context, options.matrix.common, bundle, part, matrix.directory, std::move(known));
  Completion completion{.directory = options.matrix.out};
  judged.findings = held_again(matrix, std::move(judged.findings));
  if (judged.aligned && !options.no_interventions && is_repeatable(judged.findings))
    completion.confirmed = confirmed(matrix, judged.findings, known);
  Contract contract = contract_of(matrix, judged, options.quick);
  completion.differences = std::move(contract.differences);
  completion.exercise = std::move(contract.exercise);
  completion.seconds = clock.seconds();
  const Verdict verdict = completed(std::move(judged), std::move(completion));

  write_attn_pipe(bundle, context.environment);
  std::vector<WeightProbe> probes;
  if (context.environment.trace_qkv_w_verify) probes = verify_weights(matrix);
  const report::Report report(verdict);
  report::write_files(report, matrix.directory, options.matrix.common.archive);
  say_verdict(report, options.matrix.common, context);
  if (!options.matrix.common.is_for_machines() && !probes.empty()) say_report(report::weights_report(probes));
  context.exit_code = exit_code(verdict.status);
}

}  // namespace

void add_isolate(Program& program, Context& context) {
  auto options = std::make_shared<IsolateOptions>();
  options->matrix.prompts = {"p0_short", "p4_sys", "p5_ba", "p6_long"};
  Command command = program.command("isolate", "the experiment matrix E0-E4 and its verdict");
  add_matrix_options(command, options->matrix);
  add_attn_pipe_options(command, context.environment);
  add_format_option(command, options->matrix.common);
  command.option("--experiments", options->experiments, "some of E0,E1,E2,E3,E4")
      .shows_default()
      .takes("LIST");
  add_prompt_options(command, options->matrix);
  command.flag("--no-interventions", options->no_interventions, "do not prove findings by replacing outputs");
  command.flag("--quick", options->quick, "holds less of the program that runs unrecorded");
  command.flag("--verify-weights", context.environment.trace_qkv_w_verify,
               "one-hot inputs show how kernels read weights");
  command.option("--seed", options->seed, "repeats what was drawn; 0: drawn anew");
  command.option("--out", options->matrix.out, "directory to create; default: greta-isolate-<time>")
      .takes("DIR");
  add_archive_option(command, options->matrix.common);
  add_part_option(command, options->part);
  command.footer("Example: greta isolate -m model.gguf --layers 0-3 --out result");
  command.on_run([options, &context] { run_isolate(*options, context); });
}

}  // namespace greta::cli
