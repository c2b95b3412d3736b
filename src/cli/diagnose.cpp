#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/timing.h"
#include "bundle/join.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/part.h"
#include "cli/progress.h"
#include "cli/verdict_output.h"
#include "io/output_file.h"
#include "judge/bundle_check.h"
#include "judge/judge.h"
#include "judge/op_judge.h"
#include "model/half_known.h"
#include "report/report.h"

namespace greta::cli {
namespace {

struct DiagnoseOptions {
  CommonOptions common;
  std::string bundle, out, part, causes = "first";
  bool force = false;
};

void run_diagnose(const DiagnoseOptions& options, Context& context) {
  if (context.inspected != nullptr) {
    *context.inspected = {options.common.model, options.out, options.part, {options.bundle}, {}, ""};
    return;
  }
  const Stopwatch clock;
  const Share part = chosen_part(options.part, options.out);
  const Bundle recorded = read_bundle(options.bundle);
  for (const std::string& note : recorded.notes) say(stderr, "greta: note: {}: {}\n", recorded.path, note);
  const bool stages = records_stages(recorded) || !records_ops(recorded);
  const bool has_model = !options.common.model.empty();
  if (stages && !has_model)
    fail_input("{}: has stages, which a model says how to make: give it with -m", recorded.path);
  const Bundle bundle = joined(recorded);
  Model model = has_model ? open_known_model(options.common.model) : Model{};
  say_not_known(model);
  has_model ? check_fits(bundle, model, options.force) : check_intact(bundle, options.force);
  if (!options.out.empty()) make_directory(options.out, options.force);
  std::optional<Progress> progress(std::in_place);
  const auto step = judging(*progress, "interrupted");
  const auto tell = [&](const Places& places) {
    progress->clear();
    const std::string whose = places.of_layer ? fmt::format("layer {}'s", *places.of_layer) : "recorded";
    say(stderr, "greta: {} of {} {} stages are wrong after {:.1f} s, the first: {}; {}\n", places.wrong,
        places.judged, whose, clock.seconds(), places.first,
        places.of_layer ? "judging the others" : "looking for causes");
  };
  if (!stages && !part.is_whole())
    fail_input("{}: has no stages, and ops are not judged in parts: leave --part out", recorded.path);
  KnownJudgements known = known_from_parts(context, bundle);
  if (!part.is_whole()) {
    judge(bundle, model,
          {.threads = chosen_threads(options.common),
           .causes = Causes::none,
           .part = part,
           .known = &known,
           .step = step});
    progress.reset();
    return write_part(context, options.common, bundle, part, options.out, std::move(known));
  }
  const JudgeOptions how{.threads = chosen_threads(options.common),
                         .causes = options.causes == "all" ? Causes::all : Causes::first,
                         .known = &known,
                         .step = step,
                         .on_places = tell};
  std::vector<JudgedOp> ops = judge_ops(recorded, has_model ? &model : nullptr, how);
  Verdict judged = with_ops(judge(bundle, model, how), std::move(ops), stages);
  const Verdict verdict =
      completed(std::move(judged), {.directory = options.out, .seconds = clock.seconds()});
  progress.reset();
  const report::Report report(verdict);
  if (!options.out.empty()) report::write_files(report, options.out, options.common.archive);
  say_verdict(report, options.common, context);
  context.exit_code = exit_code(verdict.status);
}

}  // namespace

void add_diagnose(Program& program, Context& context) {
  auto options = std::make_shared<DiagnoseOptions>();
  Command command = program.command("diagnose", "judge a recorded trace: what is wrong, where and why");
  command.option("BUNDLE", options->bundle, "a bundle: directory or .tgz, of any engine").required();
  command.option("-m,--model", options->common.model, "GGUF file or checkpoint directory; ops need none")
      .takes("PATH");
  add_format_options(command, options->common);
  command.option("--out", options->out, "directory for verdict.json and the reports").takes("DIR");
  add_archive_option(command, options->common);
  command.flag("--force", options->force, "take a damaged or other model's bundle, or --out");
  command.option("--threads", options->common.threads, "default: physical cores in the CPU quota")
      .range(1, 256)
      .takes("N");
  command.footer("Example: greta diagnose trace-dir -m model.gguf --out result");
  command.option("--causes", options->causes, "sought: of each stage in its first and last layer")
      .one_of({"first", "all"});
  add_part_option(command, options->part);
  command.on_run([options, &context] { run_diagnose(*options, context); });
}

}  // namespace greta::cli
