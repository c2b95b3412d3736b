#pragma once
// One file per subcommand; each adds itself to the program and puts its exit code into the context.

#include "cli/common.h"

namespace greta::cli {

/// The program with all of those below.
std::unique_ptr<Program> whole_program(Context& context);

/// `launch HOST... -- isolate ARGS`, `complete -- WORD...`: what is after "--" goes into context.beyond.
void set_apart_what_is_beyond(std::vector<std::string>& arguments, Context& context);

void add_bench(Program& program, Context& context);
void add_bound(Program& program, Context& context);
void add_capture(Program& program, Context& context);
void add_complete(Program& program, Context& context);
void add_compare(Program& program, Context& context);
void add_diagnose(Program& program, Context& context);
void add_faults(Program& program, Context& context);
void add_hypotheses(Program& program, Context& context);
void add_import(Program& program, Context& context);
void add_info(Program& program, Context& context);
void add_isolate(Program& program, Context& context);
void add_manual(Program& program);
void add_launch(Program& program, Context& context);
void add_merge(Program& program, Context& context);
void add_mma(Program& program, Context& context);
void add_perplexity(Program& program, Context& context);
void add_plan(Program& program, Context& context);
void add_report(Program& program, Context& context);
void add_repro(Program& program, Context& context);
void add_run(Program& program, Context& context);
void add_selftest(Program& program, Context& context);
void add_tokenize(Program& program, Context& context);
void add_trace(Program& program, Context& context);
void add_whatif(Program& program, Context& context);

}  // namespace greta::cli
