// `greta manual`: the manual page in troff. Commands and options are printed as they are declared, so that
// the page cannot differ from them; only what no option can say is written here.

#include <fmt/format.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cli/commands.h"
#include "cli/environment.h"
#include "cli/output.h"

namespace greta::cli {
namespace {

constexpr std::string_view kBegin = R"(.TH GRETA 1 "" "greta {version}" "User Commands"
.SH NAME
greta \- find out why an LLM's decode disagrees with its prefill
.SH SYNOPSIS
.B greta
.I COMMAND
.RI [ options ]
.SH DESCRIPTION
An LLM engine computes the same function twice:
.I prefill
runs many tokens at once,
.I decode
one token against a KV cache, often on other hardware units. GRETA runs a model both ways, forces each route
in turn, compares every stage of every layer, and says where the two part.
.PP
With
.BR \-\-json ,
standard output carries exactly one JSON document and everything else goes to standard error.
.SS Routes
.B \-\-route
takes
.BR [prefill:|decode:]STAGES=ROUTE[/SHAPE] :
the route
.RB ( vector ", " matrix " or " auto )
and the shape
.RB ( gemm ", " gemv )
of projections, such as
.B q,k,v=matrix/gemm
or
.BR all=vector .
A route that cannot run is an error, never a silent fallback. Repeatable, as
.B \-\-inject
is.
.SS Experiments
What is forced on decode's q, k and v: E0 nothing; E1 vector; E2 matrix; E3 matrix and GEMM; E4 vector and
GEMM.
.SS Results
A directory of results that exists is refused unless
.B \-\-force
is given. Hashes and statistics of every recorded stage are kept always, its values as
.B \-\-tensors
says.
)";

constexpr std::string_view kExitStatus = R"(.SH EXIT STATUS
.TP
.B 0
equal, or rounding only
.TP
.B 1
a fault
.TP
.B 2
bad usage or bad input
.TP
.B 3
a failure of the machine or of GRETA
.TP
.B 4
nothing wrong found, but it cannot vouch
)";

/// As text, whatever troff would make of it.
std::string plain(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool starts_line = i == 0 || text[i - 1] == '\n';
    if (starts_line && (text[i] == '.' || text[i] == '\'')) out += "\\&";
    if (text[i] == '-' || text[i] == '\\') out += text[i] == '-' ? "\\" : "\\e";
    if (text[i] == '"') out += "\\(dq";
    if (text[i] != '\\' && text[i] != '"') out += text[i];
  }
  return out;
}

/// The entry of one option: names, what it takes, what it does.
std::string entry(const OptionText& option) {
  return fmt::format(".TP\n.BI \"{}\" \"{}\"\n{}\n", plain(option.names), plain(option.takes),
                     plain(option.help));
}

/// Entries that so many commands have are printed once.
constexpr int kShared = 3;

/// How many commands have an entry.
std::map<std::string, int> uses_of_entries(const std::vector<CommandText>& commands) {
  std::map<std::string, int> uses;
  for (const CommandText& command : commands) {
    for (const OptionText& option : command.options) ++uses[entry(option)];
  }
  return uses;
}

std::string command_text(const CommandText& command, const std::map<std::string, int>& uses) {
  std::string text = fmt::format(".SS greta {}\n{}.\n", plain(command.name), plain(command.help));
  std::string shared;
  for (const OptionText& option : command.options) {
    const std::string own = entry(option);
    if (uses.at(own) < kShared) {
      text += own;
    } else {
      shared += (shared.empty() ? "" : "; ") + plain(option.names);
    }
  }
  return text + fmt::format(".PP\nShared options: {}.\n.PP\n.nf\n{}\n.fi\n", shared, plain(command.footer));
}

std::string manual(const std::vector<CommandText>& commands) {
  const std::map<std::string, int> uses = uses_of_entries(commands);
  std::string text = fmt::format(fmt::runtime(kBegin), fmt::arg("version", GRETA_VERSION));
  text += ".SH COMMANDS\n";
  for (const CommandText& command : commands) text += command_text(command, uses);
  text += ".SH SHARED OPTIONS\nOf the commands that list them.\n";
  for (const auto& [own, count] : uses) {
    if (count >= kShared) text += own;
  }
  text += fmt::format("{}.SH ENVIRONMENT\nAn option for the same wins over these.\n", kExitStatus);
  for (const Variable& variable : environment_variables()) {
    text += fmt::format(".TP\n.BI {}= {}\n{} Option: {}.\n", variable.name, plain(variable.values),
                        plain(variable.help), plain(variable.option));
  }
  return text;
}

}  // namespace

void add_manual(Program& program) {
  Command command = program.command("manual", "the manual page, in troff");
  command.hide();  // for those who package GRETA
  command.on_run([&program] { say_report(manual(program.commands())); });
}

}  // namespace greta::cli
