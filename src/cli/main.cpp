#include <fmt/format.h>

#include <cstdio>
#include <new>
#include <optional>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/printable.h"
#include "cli/commands.h"
#include "cli/interrupt.h"

namespace {

std::string join_arguments(int argc, char** argv) {
  std::string line;
  for (int i = 0; i < argc; ++i) line += (i == 0 ? "" : " ") + std::string(argv[i]);
  return line;
}

int print(const greta::cli::Answer& answer) {
  fmt::print("{}", answer.text);
  fmt::print(stderr, "{}", greta::printable_lines(answer.complaint));
  return answer.exit_code;
}

int fail(const char* message, int exit_code) {
  fmt::print(stderr, "greta: {}\n", greta::printable(message));
  return exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace greta;
  cli::Program program("greta", "GRETA finds out why an LLM's decode disagrees with its prefill.",
                       std::string("greta ") + GRETA_VERSION);
  program.footer(
      "Exit codes: 0 equal or rounding only; 1 a fault; 2 bad usage or input;\n"
      "3 a failure of the machine or of GRETA; 4 nothing wrong found,\nbut it cannot vouch.\n\n" +
      cli::environment_help());
  cli::Context context;
  context.command_line = join_arguments(argc, argv);
  cli::add_isolate(program, context);
  cli::add_compare(program, context);
  cli::add_diagnose(program, context);
  cli::add_report(program, context);
  cli::add_repro(program, context);
  cli::add_trace(program, context);
  cli::add_capture(program, context);
  cli::add_whatif(program, context);
  cli::add_run(program, context);
  cli::add_bound(program, context);
  cli::add_bench(program, context);
  cli::add_perplexity(program, context);
  cli::add_plan(program, context);
  cli::add_info(program, context);
  cli::add_mma(program, context);
  cli::add_faults(program, context);
  cli::add_hypotheses(program, context);
  cli::add_selftest(program, context);
  cli::add_tokenize(program, context);
  cli::add_manual(program);
  try {
    install_sigbus_message();
    cli::install_interrupt_handler();
    context.environment = cli::read_environment();
    for (const std::string& complaint : cli::unknown_variables()) fail(("note: " + complaint).c_str(), 0);
    const std::optional<cli::Answer> answer = program.parse(argc, argv);
    return answer ? print(*answer) : context.exit_code;
  } catch (const cli::Interrupted& interrupted) {
    return fail(interrupted.what(), 130);  // 128 + SIGINT, as shells expect
  } catch (const Error& error) {
    return fail(error.what(), static_cast<int>(error.kind()));
  } catch (const std::bad_alloc&) {
    return fail("out of memory", static_cast<int>(ErrorKind::machine));
  } catch (const std::exception& error) {
    return fail(error.what(), static_cast<int>(ErrorKind::machine));
  }
}
