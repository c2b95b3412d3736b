#pragma once
// Options that commands share, and what they make of them.

#include <optional>
#include <string>
#include <vector>

#include "cli/environment.h"
#include "cli/options.h"
#include "engine/session.h"
#include "model/tokenizer.h"

namespace greta::cli {

struct CommonOptions {
  std::string model;
  bool json = false;
  std::string format;  // --format; empty: for people
  int n_context = 0;   // tokens that the run is for; 0: nothing is said
  int threads = 0;     // 0: the cores that this process may use
  std::string device = "cpu";
  std::string sim_input = "bf16";
  bool invariant = false;
  bool undeclared = false;  // of selftest: bundles do not say what kernels do
  std::string isa;          // "": GRETA_ISA, or the widest
  std::string kv = "f32";
  std::vector<std::string> routes;  // --route
  bool archive = false;             // --archive

  bool is_for_machines() const { return json || !format.empty(); }
};

/// What a command reads and writes, by its arguments: for launch, which runs it elsewhere.
struct Inspection {
  std::string model, out, part;
  std::vector<std::string> files;  // besides the model
  std::optional<uint64_t> seed;    // of a command that draws; 0: not given
  std::string attn_pipe;           // a file that it writes besides --out
};

/// What every command gets from main().
struct Context {
  Environment environment;
  std::vector<std::string> arguments;  // of the program, without its name
  std::string command_line;
  int exit_code = 0;

  // Of merge: the arguments to run next, and the directories of the parts whose judgements that run knows.
  std::vector<std::string> again = {};
  std::vector<std::string> parts = {};

  std::vector<std::string> beyond = {};  // of launch and complete: the arguments after "--"
  Inspection* inspected = nullptr;       // if there is one, it is filled, and nothing is run
};

void add_model_option(Command& command, CommonOptions& options);
void add_json_option(Command& command, CommonOptions& options);
/// --threads, --device, --isa, --kv, --route
void add_engine_options(Command& command, CommonOptions& options);

/// scalar, avx2 or avx512; an input Error beginning with `where` otherwise.
Isa parse_isa(const std::string& text, const std::string& where);

/// Throws an input Error for a device or ISA that this build or machine does not have.
Isa chosen_isa(const CommonOptions& options, const Environment& environment);
int chosen_threads(const CommonOptions& options);

/// The --route rules alone.
RouteTable route_rules(const CommonOptions& options, RouteTable base = {});

/// --route rules, after those of GRETA_QKV_FORCE_ROUTE and GRETA_QKV_FORCE_GEMM for decode's q, k, v,
/// which options override.
RouteTable chosen_routes(const CommonOptions& options, const Environment& environment);

/// Packs the weights, starts the threads.
Engine load_engine(const CommonOptions& options, const Environment& environment, Model model);
inline Engine load_engine(const CommonOptions& options, const Environment& environment) {
  return load_engine(options, environment, open_model(options.model));
}

}  // namespace greta::cli
