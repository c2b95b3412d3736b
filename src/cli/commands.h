#pragma once
// One file per subcommand; each adds itself to the program and puts its exit code into the context.

#include "cli/common.h"

namespace greta::cli {

void add_bench(CLI::App& program, Context& context);
void add_compare(CLI::App& program, Context& context);
void add_diagnose(CLI::App& program, Context& context);
void add_faults(CLI::App& program, Context& context);
void add_hypotheses(CLI::App& program, Context& context);
void add_info(CLI::App& program, Context& context);
void add_isolate(CLI::App& program, Context& context);
void add_manual(CLI::App& program);
void add_mma(CLI::App& program, Context& context);
void add_perplexity(CLI::App& program, Context& context);
void add_plan(CLI::App& program, Context& context);
void add_run(CLI::App& program, Context& context);
void add_selftest(CLI::App& program, Context& context);
void add_tokenize(CLI::App& program, Context& context);
void add_trace(CLI::App& program, Context& context);
void add_whatif(CLI::App& program, Context& context);

}  // namespace greta::cli
