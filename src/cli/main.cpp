#include <fmt/format.h>
#include <malloc.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/printable.h"
#include "cli/commands.h"
#include "cli/interrupt.h"

namespace {

using greta::cli::Answer;
using greta::cli::Context;

int print(const Answer& answer) {
  fmt::print("{}", answer.text);
  fmt::print(stderr, "{}", greta::printable_lines(answer.complaint));
  return answer.exit_code;
}

int fail(const char* message, int exit_code) {
  fmt::print(stderr, "greta: {}\n", greta::printable(message));
  return exit_code;
}

/// Runs what the arguments say; again, where that is what the command comes to.
std::optional<Answer> run(std::string name, std::vector<std::string> arguments, Context& context) {
  greta::cli::set_apart_what_is_beyond(arguments, context);
  for (;;) {
    const auto program = greta::cli::whole_program(context);
    context.command_line = name;
    for (const std::string& argument : arguments) context.command_line += " " + argument;
    context.arguments = arguments;
    const std::optional<Answer> answer = program->parse(std::move(arguments));
    if (answer || context.again.empty()) return answer;
    arguments = std::exchange(context.again, {});
  }
}

}  // namespace

/// Recordings come and go, run by run: their memory stays the program's. (Given back to the system and taken
/// anew it costs 5 % of an isolate that finds everything wrong.)
static void keep_freed_memory() {
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that glibc takes
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  mallopt(M_TOP_PAD, 64 << 20);
}

int main(int argc, char** argv) {
  using namespace greta;
  keep_freed_memory();
  cli::Context context;
  try {
    install_sigbus_message();
    cli::install_interrupt_handler();
    context.environment = cli::read_environment();
    for (const std::string& complaint : cli::unknown_variables()) fail(("note: " + complaint).c_str(), 0);
    std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
    const std::optional<Answer> answer = run(argc > 0 ? argv[0] : "greta", std::move(arguments), context);
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
