#include "cli/commands.h"

namespace greta::cli {

void add_commands(Program& program, Context& context) {
  add_isolate(program, context);
  add_compare(program, context);
  add_diagnose(program, context);
  add_report(program, context);
  add_repro(program, context);
  add_merge(program, context);
  add_trace(program, context);
  add_capture(program, context);
  add_whatif(program, context);
  add_run(program, context);
  add_bench(program, context);
  add_perplexity(program, context);
  add_plan(program, context);
  add_info(program, context);
  add_mma(program, context);
  add_faults(program, context);
  add_hypotheses(program, context);
  add_selftest(program, context);
  add_tokenize(program, context);
  add_manual(program);
}

}  // namespace greta::cli
