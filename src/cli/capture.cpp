// `greta capture -- COMMAND`: a stranger's program with the capture library preloaded, then once more
// without an observer in its graphs, to see that it computes the same.

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/timing.h"
#include "bundle/bundle.h"
#include "bundle/bundle_files.h"
#include "cli/capture_log.h"
#include "cli/child.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "io/json_fields.h"
#include "io/output_file.h"
#include "io/scratch.h"
#include "model/model_file.h"

namespace greta::cli {
namespace {

namespace fs = std::filesystem;

struct CaptureOptions {
  std::string out = "trace", layers = "all";
  int steps = 2, prompts = 1;
  bool no_verify = false, force = false;
  std::vector<std::string> command;
};

/// Beside the program, or where it is installed.
std::string library_path() {
  std::error_code error;
  const fs::path folder = fs::read_symlink("/proc/self/exe", error).parent_path();
  for (const char* place : {"libgreta_capture.so", "../lib/greta/libgreta_capture.so"}) {
    const fs::path path = folder / place;
    if (fs::exists(path, error)) return fs::canonical(path, error).string();
  }
  fail_machine("libgreta_capture.so is not beside the program {}: build or install it", folder.string());
}

void check_layers(const std::string& layers) {
  int first = 0, last = 0, end = 0;
  const bool range = std::sscanf(layers.c_str(), "%d-%d%n", &first, &last, &end) == 2;
  const bool one = !range && std::sscanf(layers.c_str(), "%d%n", &first, &end) == 1;
  const bool whole = (range || one) && static_cast<size_t>(end) == layers.size() && first >= 0;
  if (layers == "all" || (whole && (one || first <= last))) return;
  fail_input("--layers {}: use all, a layer (0) or a range (0-3)", layers);
}

ChildRequest request_of(const CaptureOptions& options, const std::string& directory) {
  return {.command = options.command,
          .environment = {{"GRETA_CAPTURE_OUT", fs::absolute(directory).string()},
                          {"GRETA_CAPTURE_LAYERS", options.layers == "all" ? "" : options.layers},
                          {"GRETA_CAPTURE_STEPS", fmt::format("{}", options.steps)},
                          {"GRETA_CAPTURE_PROMPTS", fmt::format("{}", options.prompts)}},
          .preload = library_path()};
}

Attestation attested(const CaptureOptions& options, const CaptureLog& log, const ChildEnd& end) {
  if (options.no_verify)
    return {"not compared", "logits not compared with a run without capture (--no-verify)"};
  if (end.killed || end.exit_code != 0)
    return {"not compared", "logits not compared with a run without capture: this one did not end well"};
  const ScratchDirectory scratch("greta-capture");
  ChildRequest again = request_of(options, scratch.path());
  again.environment.emplace_back("GRETA_CAPTURE_ONLY_DIGESTS", "1");
  again.silent = true;
  run_child(again);
  return attest_capture(log, read_capture_log(scratch.path()));
}

/// The manifest as the library left it, with what only its starter knows.
nlohmann::json finished_manifest(const CaptureOptions& options, const Context& context, const ChildEnd& end,
                                 const CaptureLog& log, const Attestation& attestation) {
  const fs::path path = fs::path(options.out) / kManifestFile;
  std::ifstream file(path);
  nlohmann::json manifest = parse_json(std::string(std::istreambuf_iterator<char>(file), {}), path.string());
  manifest["complete"] = !end.killed && !log.recorded.empty() && !log.has_hole();
  manifest["command_line"] = context.command_line;
  manifest["options"]["capture"] = {{"attested", attestation.result},
                                    {"attestation", attestation.sentence},
                                    {"exit_code", end.exit_code},
                                    {"notes", log.notes}};
  const std::string model = manifest.value("model", nlohmann::json::object()).value("file", "");
  try {
    if (model.empty()) return manifest;
    const ModelFile weights = open_model_file(model);
    manifest["model"]["hash"] = weights.xxh3();
    manifest["model"]["bytes"] = weights.file_size();
  } catch (const Error&) {  // gone by now: then nobody can tell whether it is the same
  }
  return manifest;
}

void report(const CaptureOptions& options, const nlohmann::json& manifest, const CaptureLog& log,
            const Attestation& attestation) {
  int rows = 0, steps = 0, stages = 0;
  for (const CaptureLog::Recorded& part : log.recorded) {
    const bool step = part.phase.find("/decode") != std::string::npos;
    steps += step;
    rows += step ? 0 : part.rows;
    stages += part.stages;
  }
  say(stderr, "greta: recorded {} prompt token{} and {} step{}, {} stages, in {}, {}\n", rows,
      rows == 1 ? "" : "s", steps, steps == 1 ? "" : "s", stages, options.out, size_of_files(options.out));
  say(stderr, "greta: {}\n", attestation.sentence);
  const std::string model = manifest.value("model", nlohmann::json::object()).value("file", "");
  say(stderr, "greta: next: greta diagnose {} -m {}\n", options.out, model.empty() ? "MODEL.gguf" : model);
}

void run_capture(const CaptureOptions& options, Context& context) {
  check_layers(options.layers);
  const ChildRequest request = request_of(options, options.out);
  const nlohmann::json unknown = {{"engine", "unknown"}, {"complete", false}, {"time", utc_now()}};
  { const BundleWriter empty(options.out, options.force, unknown); }
  remove_capture_log(options.out);
  ChildEnd end;
  try {
    end = run_child(request);
  } catch (const CannotRun& error) {
    say(stderr, "greta: cannot run {}: {}\n", options.command.front(), error.reason);
    context.exit_code = error.exit_code;
    return;
  }
  context.exit_code = end.exit_code;
  const CaptureLog log = read_capture_log(options.out);
  const Attestation attestation = log.recorded.empty() ? Attestation{"not compared", "nothing was recorded"}
                                                       : attested(options, log, end);
  const nlohmann::json manifest = finished_manifest(options, context, end, log, attestation);
  try {
    replace_file((fs::path(options.out) / kManifestFile).string(), dump_json(manifest, 2) + "\n");
    remove_capture_log(options.out);
  } catch (const Error& error) {  // the command's own exit code is kept
    say(stderr, "greta: {}\n", error.what());
  }
  if (!log.recorded.empty()) return report(options, manifest, log, attestation);
  const std::string why = !log.notes.empty()   ? log.notes.back()
                          : log.graphs.empty() ? why_unseen(options.command.front())
                                               : "no graph of a language model was computed";
  say(stderr, "greta: nothing was recorded: {}\n", why);
}

}  // namespace

void add_capture(Program& program, Context& context) {
  auto options = std::make_shared<CaptureOptions>();
  Command command = program.command("capture", "record what a program on ggml (llama.cpp) computes");
  command.option("COMMAND", options->command, "after --: the program and its arguments").required();
  command.option("--out", options->out, "directory to create").shows_default().takes("DIR");
  command.option("--layers", options->layers, "all, a layer (0) or a range (0-3)")
      .shows_default()
      .takes("LAYERS");
  command.option("--steps", options->steps, "steps of one token to record, of each prompt")
      .range(0, 1000)
      .shows_default()
      .takes("N");
  command.option("--prompts", options->prompts, "prompts to record, from the first")
      .range(1, 1000)
      .shows_default()
      .takes("N");
  command.flag("--no-verify", options->no_verify, "no second run to compare logits with");
  command.flag("--force", options->force, "replace the bundle in --out");
  command.footer("Example: greta capture --out trace -- llama-cli -m model.gguf -p Hi -n 2");
  command.on_run([options, &context] { run_capture(*options, context); });
}

}  // namespace greta::cli
