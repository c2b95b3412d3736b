// What --help prints fits a terminal.

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>
#include <string>
#include <vector>

#include "e2e/program.h"

namespace greta {
namespace {

constexpr size_t kColumns = 80;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::vector<std::string> help_of(const std::vector<std::string>& command) {
  std::vector<std::string> arguments = command;
  arguments.push_back("--help");
  const test::Outcome outcome = test::run_greta(arguments);
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::vector<std::string> lines = lines_of(outcome.out);
  for (const std::string& line : lines) EXPECT_LE(line.size(), kColumns) << line;
  return lines;
}

TEST(Help, OfEveryCommandFitsTheTerminal) {
  const std::vector<std::string> all = help_of({});
  auto line = std::find(all.begin(), all.end(), "Subcommands:");
  ASSERT_NE(line, all.end());
  int commands = 0;
  for (++line; line != all.end() && line->starts_with("  "); ++line, ++commands) {
    help_of({line->substr(2, line->find(' ', 2) - 2)});
  }
  EXPECT_GE(commands, 14);
}

}  // namespace
}  // namespace greta
