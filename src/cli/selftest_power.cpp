#include "cli/selftest_power.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "io/output_file.h"
#include "report/page.h"
#include "report/power_table.h"
#include "selftest/power_run.h"
#include "verdict/power_score.h"

namespace greta::cli {
namespace {

/// The file at `path`; empty when there is none.
std::string document_at(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

/// Before minutes of measurement: whether the result can be written.
void check_out(const std::string& path) {
  if (path.empty()) return;
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  std::error_code ignored;
  if (!parent.empty() && !std::filesystem::is_directory(parent, ignored))
    fail_input("--out {}: {} is no directory; create it", path, parent.string());
  if (std::filesystem::is_directory(path, ignored))
    fail_input("--out {}: is a directory; name a Markdown file", path);
  if (!path.ends_with(".html")) report::with_measured(document_at(path), "", path);
}

PowerResult measure(const PowerOptions& options, const Context& context) {
  Engine engine = load_engine(options.common, context.environment);
  PowerRequest request;
  request.only = options.only;
  request.quick = options.quick;
  request.weakest = options.weakest;
  request.pairs = options.stacked;
  request.routes = chosen_routes(options.common, context.environment);
  request.make_engine = [&](int threads, Isa isa) {
    EngineOptions other = engine.options();
    other.threads = threads;
    other.isa = isa;
    return std::make_unique<Engine>(open_model(options.common.model), other);
  };
  Progress progress;  // gone before the table is printed
  request.step = [&](int done, int total, const std::string& label) {
    throw_if_interrupted("interrupted");
    progress.show(done, total, label);
  };
  PowerResult result = measure_power(engine, request);
  result.command_line = context.command_line;
  return result;
}

}  // namespace

void add_power_options(Command& command, PowerOptions& options) {
  add_model_option(command, options.common);
  add_json_option(command, options.common);
  command.option("--only", options.only, "only faults whose name has this").takes("NAME-PART");
  command.flag("--quick", options.quick, "a minute: one fault per class, few other runs");
  command.option("--stacked", options.stacked, "pairs of faults, half as many triples; default: 20")
      .range(0, 10000)
      .takes("N");
  command.flag("--weakest", options.weakest, "also the weakest faults that are flagged");
  command.flag("--undeclared", options.common.undeclared,
               "kernels declare nothing: what they do is inferred");
  command.option("--out", options.out, "also .md (between the marks of one that is) or .html").takes("FILE");
  add_engine_options(command, options.common);
}

void run_power(const PowerOptions& options, Context& context) {
  check_out(options.out);
  const PowerResult result = measure(options, context);
  if (options.out.ends_with(".html")) {
    replace_file(options.out,
                 report::document_page("selftest: " + result.model,
                                       {{report::Preformatted{report::power_terminal(result)}}}),
                 ErrorKind::input);
  } else if (!options.out.empty()) {
    replace_file(options.out,
                 report::with_measured(document_at(options.out), report::power_markdown(result), options.out),
                 ErrorKind::input);
  }
  if (options.common.json) {
    say_json(report::power_json(result), 2);
  } else {
    say_report(report::power_terminal(result));
  }
  context.exit_code = all_hold(totals_of(result)) ? 0 : 1;
}

}  // namespace greta::cli
