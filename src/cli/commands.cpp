#include "cli/commands.h"

namespace greta::cli {

std::unique_ptr<Program> whole_program(Context& context) {
  auto made =
      std::make_unique<Program>("greta", "GRETA finds out why an LLM's decode disagrees with its prefill.",
                                std::string("greta ") + GRETA_VERSION);
  Program& program = *made;
  program.footer(
      "Exit codes: 0 equal or rounding only; 1 a fault; 2 bad usage or input;\n"
      "3 a failure of the machine or of GRETA; 4 nothing wrong found,\nbut it cannot vouch.\n\n" +
      environment_help());
  add_isolate(program, context);
  add_compare(program, context);
  add_diagnose(program, context);
  add_report(program, context);
  add_repro(program, context);
  add_merge(program, context);
  add_launch(program, context);
  add_trace(program, context);
  add_capture(program, context);
  add_import(program, context);
  add_whatif(program, context);
  add_run(program, context);
  add_bound(program, context);
  add_bench(program, context);
  add_perplexity(program, context);
  add_plan(program, context);
  add_info(program, context);
  add_mma(program, context);
  add_faults(program, context);
  add_hypotheses(program, context);
  add_selftest(program, context);
  add_tokenize(program, context);
  add_complete(program, context);
  add_manual(program);
  return made;
}

}  // namespace greta::cli
