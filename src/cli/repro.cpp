#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "bundle/join.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verdict_output.h"
#include "io/json_fields.h"
#include "io/json_number.h"
#include "io/output_file.h"
#include "io/safetensors.h"
#include "judge/exhibit.h"
#include "judge/judge.h"
#include "report/page.h"
#include "report/report.h"
#include "report/stored_verdict.h"

namespace greta::cli {
namespace {

namespace fs = std::filesystem;

struct ReproOptions {
  CommonOptions common;
  std::string path, out;
  int finding = 1;
  bool force = false;
};

/// -m, or what the verdict was made by, where it still is.
std::string model_of(const ReproOptions& options, const Verdict* verdict) {
  if (!options.common.model.empty()) return options.common.model;
  std::error_code none;
  if (verdict != nullptr && fs::is_regular_file(verdict->model_file, none)) return verdict->model_file;
  fail_input("repro needs the model's weights: -m MODEL");
}

/// Where the finding is worst, of all its layers the first.
const StageNoise& place_of(const Verdict& verdict, int number, const std::string& path) {
  const report::Report report(verdict);
  const auto count = static_cast<int>(report.facts.findings.size());
  if (count == 0) fail_input("{}: nothing was found in it", path);
  if (number > count) fail_input("{}: finding {} of {}", path, number, count);
  const Finding& finding = report.facts.findings[static_cast<size_t>(number - 1)].first;
  const StageNoise* worst = nullptr;
  for (const StageNoise& noise : verdict.noise) {
    const bool here =
        noise.layer == finding.layer && noise.stage == finding.stage && concerns(finding.phase, noise.phase);
    if (here && (worst == nullptr || noise.ratio > worst->ratio)) worst = &noise;
  }
  if (worst == nullptr)
    fail_input("{}: finding {} is of runs, not of a stage: it has no repro", path, number);
  return *worst;
}

nlohmann::json description_of(const Exhibit& exhibit) {
  return {{"schema", "greta.repro/1"},
          {"stage", name(exhibit.at.stage)},
          {"layer", exhibit.at.layer},
          {"phase", name(exhibit.phase)},
          {"cell", name(exhibit.cell)},
          {"kernel", exhibit.kernel},
          {"arithmetic", exhibit.arithmetic},
          {"noise_ratio", json_number(exhibit.noise_ratio)},
          {"how", exhibit.how}};
}

void write_exhibit(const Exhibit& exhibit, const std::string& directory) {
  std::vector<NamedBytes> tensors;
  for (const auto& [tensor, data] : exhibit.tensors) {
    const auto bytes = std::as_bytes(std::span(data.values));
    tensors.push_back({tensor, "F64", data.shape, {bytes.begin(), bytes.end()}});
  }
  replace_file((fs::path(directory) / "stage.safetensors").string(),
               [&](OutputFile& file) { write_safetensors(file, std::span<const NamedBytes>(tensors)); });
  replace_file((fs::path(directory) / "stage.json").string(), dump_json(description_of(exhibit), 2) + "\n");
  replace_file((fs::path(directory) / "repro.py").string(), report::repro_script());
}

void run_repro(const ReproOptions& options, Context&) {
  const Bundle bundle = joined(read_bundle(options.path));
  std::optional<Verdict> verdict;
  if (options.common.model.empty()) verdict = report::read_verdict(options.path);
  Model model = open_model(model_of(options, verdict ? &*verdict : nullptr));
  check_fits(bundle, model, options.force);
  if (!verdict) {
    Progress progress;
    verdict = judge(bundle, model,
                    {.threads = chosen_threads(options.common), .step = judging(progress, "interrupted")});
  }
  const StageNoise& place = place_of(*verdict, options.finding, options.path);
  const Exhibit exhibit = exhibit_of(bundle, model, place, chosen_threads(options.common));
  if (exhibit.how["kind"] == "cache")
    fail_input("a cache's rows are copies: compare stage k_rope and v instead");
  make_directory(options.out, options.force);
  write_exhibit(exhibit, options.out);
  say("{}\n  repro.py stage.json stage.safetensors\nNext: python3 {}/repro.py\n", options.out, options.out);
}

}  // namespace

void add_repro(Program& program, Context& context) {
  auto options = std::make_shared<ReproOptions>();
  Command command = program.command("repro", "one wrong stage alone, to be remade with numpy");
  command.option("PATH", options->path, "a bundle: what isolate left, or any engine's").required();
  command.option("FINDING", options->finding, "its number in the report; default: 1").range(1, 100000);
  command.option("-m,--model", options->common.model, "judge the bundle anew, by this model").takes("PATH");
  command.option("--out", options->out, "directory to create").required().takes("DIR");
  command.flag("--force", options->force, "take a damaged or other model's bundle, or --out");
  command.footer("Example: greta repro broken 1 --out repro && python3 repro/repro.py");
  command.on_run([options, &context] { run_repro(*options, context); });
}

}  // namespace greta::cli
