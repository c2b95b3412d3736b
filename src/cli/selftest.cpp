#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/progress.h"
#include "isolate/detection.h"
#include "isolate/metamorphic.h"
#include "model/prompt.h"

namespace greta::cli {
namespace {

struct Options {
  CommonOptions common;
  bool metamorphic = false;
  std::vector<std::string> inject;
  std::string only;
};

std::string labels(const isolate::MetamorphicCheck& check, bool passed) {
  std::string text;
  for (const isolate::CheckCase& one : check.cases) {
    if (one.deviation.has_value() == passed) continue;
    text += (text.empty() ? "" : ", ") + one.label;
  }
  return text;
}

/// A line per check, at most 80 columns; what failed says where.
void print(const isolate::MetamorphicCheck& check) {
  const isolate::CheckResult result = check.result();
  const auto good = std::count_if(check.cases.begin(), check.cases.end(),
                                  [](const isolate::CheckCase& c) { return !c.deviation; });
  const bool ran = result != isolate::CheckResult::not_applicable;
  fmt::print("{:<7} {:<22} {:>5}  {}\n",
             result == isolate::CheckResult::failed ? "FAILED"
             : ran                                  ? "passed"
                                                    : "n/a",
             check.name, ran ? fmt::format("{}/{}", good, check.cases.size()) : "", check.states);
  if (result == isolate::CheckResult::failed) {
    const std::string holds = labels(check, true);
    fmt::print("        fails: {}\n", labels(check, false));
    if (!holds.empty()) fmt::print("        holds: {}\n", holds);
    const auto first = std::find_if(check.cases.begin(), check.cases.end(),
                                    [](const isolate::CheckCase& c) { return c.deviation; });
    fmt::print("        first: {}\n               {}\n", place(*first->deviation), values(*first->deviation));
  }
  if (!check.why_not.empty()) fmt::print("        note: {}\n", check.why_not);
}

void run_metamorphic(const Options& options, Context& context) {
  Model model = open_model(options.common.model);
  isolate::MetamorphicRequest request;
  request.routes = chosen_routes(options.common, context.environment);
  request.threads = chosen_threads(options.common);
  for (const std::string& fault : options.inject)
    request.faults.push_back(isolate::parse_fault(fault, model.config.n_layer));
  CommonOptions engine_options = options.common;
  engine_options.threads = isolate::engine_threads_for_metamorphic(request.threads);
  Engine engine = load_engine(engine_options, context.environment, std::move(model));
  const std::vector<isolate::MetamorphicCheck> checks = [&] {
    Progress progress;  // gone before the table is printed
    request.step = [&](int done, int total, const std::string& label) {
      throw_if_interrupted("interrupted");
      progress.show(done, total, label);
    };
    return isolate::run_metamorphic(engine, request);
  }();
  const nlohmann::json json = isolate::to_json(checks);
  const int failed = json["failed"];
  if (options.common.json) {
    fmt::print("{}\n", json.dump(2));
  } else {
    fmt::print("{:<7} {:<22} {:>5}  {}\n", "result", "check", "cases", "what must hold, bit for bit");
    for (const isolate::MetamorphicCheck& check : checks) print(check);
    fmt::print("{} passed, {} failed, {} not applicable\n", json["passed"].get<int>(), failed,
               json["not_applicable"].get<int>());
  }
  context.exit_code = failed > 0 ? 1 : 0;
}

std::vector<isolate::MatrixPrompt> power_prompts(const Model& model) {
  const Tokenizer tokenizer = Tokenizer::from(model.file);
  std::vector<isolate::MatrixPrompt> prompts;
  for (const char* name : {"p0_short", "p4_sys", "p5_ba"}) {
    const Prompt prompt = load_prompt(name, model.file);
    prompts.push_back({prompt.id, prompt.text, tokenizer.encode(prompt.text, tokenizer.adds_bos())});
  }
  return prompts;
}

void run_power(const Options& options, Context& context) {
  Model model = open_model(options.common.model);
  const std::vector<isolate::MatrixPrompt> prompts = power_prompts(model);
  Engine engine = load_engine(options.common, context.environment, std::move(model));
  const isolate::PowerTest power(engine, prompts, chosen_threads(options.common));
  int index = 0;
  const int layers = static_cast<int>(engine.model().config.n_layer);
  for (const isolate::Fault& fault : isolate::faults()) {
    for (const char* phase : {"prefill", "decode"}) {
      ++index;
      if (!options.only.empty() && fault.name.find(options.only) == std::string::npos) continue;
      std::string text = fault.name + "@" + phase;
      const int layer = fault.stage == Stage::x_in ? 0 : (index * 7) % layers;
      if (!is_outside_layers(fault.stage)) text += fmt::format(":{}", layer);
      try {
        const isolate::Detection d = power.single(isolate::parse_fault(text, layers));
        fmt::print("{:<44} {:<22} {:<22} {} {} {} others {} expl {:.5f} r {:.3g} {:.2f}s\n", d.fault,
                   d.expected, d.named, !d.acts ? "INACTIVE" : (d.right_place ? "place" : "NOPLACE"),
                   d.right_phase ? "phase" : "NOPHASE",
                   d.right_name ? "ok" : (d.wrong_name ? "WRONG" : "miss"), d.others, d.explained_residual,
                   d.noise_ratio, d.seconds);
      } catch (const Error& error) {
        fmt::print("{:<44} ERROR {}\n", text, error.what());
      }
      std::fflush(stdout);
    }
  }
}

}  // namespace

void add_selftest(CLI::App& program, Context& context) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand("selftest", "checks of the engine and of GRETA themselves");
  add_model_option(*command, options->common);
  add_json_option(*command, options->common);
  command->add_flag("--metamorphic", options->metamorphic,
                    "the engine against itself: checks that need no reference");
  command->add_option("--only", options->only, "faults whose name has this");
  command->add_option("--inject", options->inject, "a bug: FAULT[@PHASE][:LAYER][,S>n] (greta faults)")
      ->type_name("FAULT")
      ->allow_extra_args(false);
  add_engine_options(*command, options->common);
  command->footer("Example: greta selftest --metamorphic -m model.gguf --inject wq_column_major@prefill");
  command->callback([options, &context] {
    options->metamorphic ? run_metamorphic(*options, context) : run_power(*options, context);
  });
}

}  // namespace greta::cli
