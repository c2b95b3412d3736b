
#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "bundle/join.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "io/json_number.h"
#include "judge/bundle_check.h"
#include "judge/compare_bundles.h"

namespace greta::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string a, b;
  bool force = false;
};

std::string run_of(const StagePair& pair) { return name(pair.cell) + " " + pair.phase; }

/// Stages that say something: those that differ from equal inputs, and per run the first that differs at all.
std::vector<const StagePair*> worth_showing(const BundleComparison& result) {
  std::vector<const StagePair*> shown;
  const StagePair* before = nullptr;
  for (const StagePair& pair : result.pairs) {
    if (pair.status == PairStatus::equal) continue;
    const bool same_run = before != nullptr && before->cell == pair.cell && before->phase == pair.phase;
    if (pair.status != PairStatus::propagated || !same_run) shown.push_back(&pair);
    before = &pair;
  }
  return shown;
}

nlohmann::json pair_json(const StagePair& pair) {
  nlohmann::json json = {{"cell", run_of(pair)},
                         {"layer", pair.layer},
                         {"stage", name(pair.stage)},
                         {"status", name(pair.status)},
                         {"mae", json_number(pair.metrics.mae)},
                         {"max_abs", json_number(pair.metrics.max_abs)},
                         {"rel_l2", json_number(pair.metrics.rel_l2)},
                         {"cosine", json_number(pair.metrics.cosine)},
                         {"max_ulp", pair.metrics.max_ulp},
                         {"noise_ratio_a", json_number(pair.noise_ratio_prefill)},
                         {"noise_ratio_b", json_number(pair.noise_ratio_decode)}};
  if (!pair.why.empty()) json["why"] = pair.why;
  return json;
}

void print_json(const BundleComparison& result) {
  nlohmann::json json = {{"schema", "greta.comparison/1"},
                         {"verdict", name(result.status)},
                         {"exit_code", exit_code(result.status)},
                         {"only_a", result.only_a},
                         {"only_b", result.only_b},
                         {"coverage",
                          {{"percent", result.coverage.percent()},
                           {"judged", result.coverage.judged},
                           {"propagated", result.coverage.propagated},
                           {"recorded", result.coverage.recorded},
                           {"skipped", result.coverage.skipped}}},
                         {"differences", nlohmann::json::array()}};
  for (const StagePair& pair : result.pairs) {
    if (pair.status != PairStatus::equal) json["differences"].push_back(pair_json(pair));
  }
  say_json(json, 2);
}

void print_text(const BundleComparison& result) {
  constexpr size_t kShown = 40;
  const std::vector<const StagePair*> shown = worth_showing(result);
  if (!shown.empty()) {
    say("{:<24} {:>3} {:<10} {:<10} {:>9} {:>9} {:>8}\n", "run", "L", "stage", "status", "rel L2", "max abs",
        "noise");
  }
  for (size_t i = 0; i < shown.size() && i < kShown; ++i) {
    const StagePair& pair = *shown[i];
    say("{:<24} {:>3} {:<10} {:<10} {:>9.2e} {:>9.2e} {:>8.2g}\n", run_of(pair), pair.layer, name(pair.stage),
        name(pair.status), pair.metrics.rel_l2, pair.metrics.max_abs, pair.noise_ratio);
    if (!pair.why.empty()) say("    {}\n", pair.why);
  }
  if (shown.size() > kShown) say("... and {} more (--json has all)\n", shown.size() - kShown);
  for (const std::string& run : result.only_a) say("only in A: {}\n", run);
  for (const std::string& run : result.only_b) say("only in B: {}\n", run);
  say("{}: {} stages compared, {} equal, coverage {:.1f} %\n", name(result.status), result.coverage.recorded,
      std::count_if(result.pairs.begin(), result.pairs.end(),
                    [](const StagePair& pair) { return pair.status == PairStatus::equal; }),
      result.coverage.percent());
}

void run(const Options& options, Context& context) {
  const Bundle a = joined(read_bundle(options.a));
  const Bundle b = joined(read_bundle(options.b));
  for (const Bundle* bundle : {&a, &b}) {
    for (const std::string& note : bundle->notes) say(stderr, "greta: note: {}: {}\n", bundle->path, note);
  }
  std::optional<Model> model;
  if (!options.common.model.empty()) model = open_model(options.common.model);
  for (const Bundle* bundle : {&a, &b}) {
    if (model) {
      check_bundle(*bundle, *model, options.force);
    } else {
      check_intact(*bundle, options.force);
    }
  }
  const BundleComparison result = compare_bundles(a, b, model ? &*model : nullptr, chosen_threads({}));
  if (options.common.json) {
    print_json(result);
  } else {
    print_text(result);
  }
  context.exit_code = exit_code(result.status);
}

}  // namespace

void add_compare(Program& program, Context& context) {
  auto options = std::make_shared<Options>();
  Command command = program.command("compare", "two bundles stage by stage");
  command.option("A", options->a, "a bundle: directory or .tgz").required();
  command.option("B", options->b, "another one").required();
  command.option("-m,--model", options->common.model, "to judge differences against rounding noise")
      .takes("FILE");
  add_json_option(command, options->common);
  command.flag("--force", options->force, "compare damaged bundles, or another model's");
  command.footer("Example: greta compare trace-a trace-b -m model.gguf");
  command.on_run([options, &context] { run(*options, context); });
}

}  // namespace greta::cli
