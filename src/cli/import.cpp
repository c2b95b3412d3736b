// `greta import FORMAT PATH --out DIR`: another tool's dump as a bundle. What engines of Python leave is read
// by Python (torch's files need torch): the package's greta.importers, of which this is the door.

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "cli/child.h"
#include "cli/commands.h"
#include "cli/output.h"

namespace greta::cli {
namespace {

namespace fs = std::filesystem;

struct ImportOptions {
  std::string format, path, out, model, map, layers = "all", rope_rows;
  int steps = 0, prompts = 0, ranks = 0, prompt_length = 0;
  bool force = false;
};

// Arguments: where the package may lie beside what is installed (or nothing), and what is asked for.
constexpr const char* kStart = R"(import sys
folder = sys.argv.pop(1)
sys.path[:1] = [folder] if folder else []
try:
    from greta.importers.__main__ import main
except ImportError as lacking:
    print(f"greta: import is done by python3, with GRETA's package and numpy: {lacking}", file=sys.stderr)
    sys.exit(2)
main()
)";

fs::path folder_of_program() {
  std::error_code error;
  return fs::read_symlink("/proc/self/exe", error).parent_path();
}

/// The one that the package was installed with, or the first on the PATH.
std::string python() {
  std::error_code error;
  const fs::path beside = folder_of_program() / "python3";
  return fs::exists(beside, error) ? beside.string() : "python3";
}

/// Of a program that was built and not installed.
std::string package_folder() {
  std::error_code error;
  const fs::path tree = folder_of_program() / "../../python";
  return fs::exists(tree / "greta/importers", error) ? fs::canonical(tree, error).string() : "";
}

void run_import(Context& context) {
  ChildRequest request{
      .command = {python(), "-c", kStart, package_folder()}, .environment = {}, .preload = ""};
  const auto& given = context.arguments;
  request.command.insert(request.command.end(), std::ranges::find(given, "import") + 1, given.end());
  ChildEnd end;
  try {
    end = run_child(request);
  } catch (const CannotRun& error) {
    fail_machine("cannot run {}: {}", request.command.front(), error.reason);
  }
  if (end.exit_code != 0 && end.exit_code != 2 && !end.killed)
    fail_machine("the importer ended with exit code {}", end.exit_code);
  context.exit_code = end.exit_code;
}

}  // namespace

void add_import(Program& program, Context& context) {
  auto options = std::make_shared<ImportOptions>();
  Command command = program.command("import", "another tool's dump as a bundle");
  command.option("FORMAT", options->format, "sglang, vllm, flashinfer, edge-llm, npy, or auto")
      .one_of({"sglang", "vllm", "flashinfer", "edge-llm", "npy", "auto"})
      .required();
  command.option("PATH", options->path, "the dump: mostly a directory").required();
  command.option("--out", options->out, "directory to create").takes("DIR").required();
  command.flag("--force", options->force, "replace the bundle in --out");
  command.option("-m,--model", options->model, "the model that ran: a directory or a GGUF file")
      .takes("MODEL");
  command.option("--map", options->map, "of npy: JSON that says what each tensor is").takes("FILE");
  command.option("--layers", options->layers, "all, a layer (0) or a range (0-3)")
      .shows_default()
      .takes("LAYERS");
  command.option("--steps", options->steps, "steps of one token to take, of each request")
      .range(0, 1'000'000)
      .takes("N");
  command.option("--prompts", options->prompts, "requests to take, from the first")
      .range(1, 1'000'000)
      .takes("N");
  command.option("--ranks", options->ranks, "of sglang, vllm: tensor-parallel ranks expected")
      .range(1, 1024)
      .takes("N");
  command.option("--rope-rows", options->rope_rows, "order of the rows of Wq and Wk: pairs, halves")
      .one_of({"pairs", "halves"})
      .takes("ORDER");
  command.option("--prompt-length", options->prompt_length, "of edge-llm: tokens of the prompt")
      .range(1, 1'000'000'000)
      .takes("N");
  command.footer("Example: greta import sglang dump -m model --out trace");
  command.on_run([options, &context] { run_import(context); });
}

}  // namespace greta::cli
