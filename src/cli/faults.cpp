
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/nearest.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "experiment/run_cause.h"
#include "fault/fault.h"
#include "judge/hypotheses/hypothesis.h"
#include "report/layout.h"

namespace greta::cli {
namespace {

const char* needs(Needs needs) {
  switch (needs) {
    case Needs::nothing: return "";
    case Needs::several_rows: return "S>1";
    case Needs::history: return "history";
    case Needs::matrix_unit: return "matrix unit";
    case Needs::bias: return "bias";
    case Needs::window: return "window";
    case Needs::cap: return "cap";
    case Needs::yarn: return "yarn";
    case Needs::rope_length: return "yarn, longrope";
    case Needs::latent: return "MLA";
    case Needs::sigmoid: return "sigmoid";
    case Needs::choice_bias: return "choice bias";
    case Needs::groups: return "groups";
    case Needs::rope_factors: return "rope factors";
    case Needs::long_rope: return "longrope";
    case Needs::sinks: return "sinks";
    case Needs::swiglu_oai: return "swiglu_oai";
  }
  return "";
}

/// Its name, class or stage has the word.
bool is_wanted(const Fault& fault, const std::string& word) {
  for (const std::string_view text :
       {std::string_view(fault.name), std::string_view(fault.fault_class), name(fault.stage)}) {
    if (text.find(word) != std::string_view::npos) return true;
  }
  return false;
}

/// An input Error where nothing has the word.
void demand_some(const std::string& word) {
  std::vector<std::string> names;
  for (const Fault& fault : faults()) {
    if (is_wanted(fault, word)) return;
    names.emplace_back(fault.name);
  }
  fail_input("no fault has \"{}\" in its name, class or stage{}", word, did_you_mean(word, names));
}

void print_json(const std::string& word) {
  nlohmann::json list = nlohmann::json::array();
  for (const Fault& fault : faults()) {
    if (!is_wanted(fault, word)) continue;
    list.push_back({{"name", fault.name},
                    {"class", fault.fault_class},
                    {"stage", name(fault.stage)},
                    {"what", fault.what},
                    {"source", fault.source},
                    {"hypothesis", fault.hypothesis},
                    {"has_size", fault.has_size()},
                    {"size", fault.size},
                    {"needs", needs(fault.needs)}});
  }
  say_json(list, 2);
}

/// Three lines each, within 80 columns.
void print_text(const std::string& word) {
  for (const Fault& fault : faults()) {
    if (!is_wanted(fault, word)) continue;
    say("{:<23} {} of {}\n    {}\n    after {}\n", fault.name, fault.fault_class, name(fault.stage),
        fault.what, fault.source);
  }
}

}  // namespace

void add_faults(Program& program, Context&) {
  auto options = std::make_shared<CommonOptions>();
  auto word = std::make_shared<std::string>();
  Command command = program.command("faults", "the bugs that isolate --inject can put in");
  command.option("WORD", *word, "only those with it in their name, class or stage");
  add_json_option(command, *options);
  command.footer(
      "FAULT[@prefill|@decode][:LAYER][,COND...]\n"
      "COND: S>n, S=n, pos>=n, head>=n, K>n, every=n, by=X\n"
      "Example: greta isolate -m model.gguf --inject 'wq_column_major@prefill,S>1'");
  command.on_run([options, word] {
    demand_some(*word);
    if (options->json) {
      print_json(*word);
    } else {
      print_text(*word);
    }
  });
}

void add_hypotheses(Program& program, Context&) {
  auto options = std::make_shared<CommonOptions>();
  Command command = program.command("hypotheses", "the causes that a fault is tried against");
  add_json_option(command, *options);
  command.footer("Example: greta hypotheses --json");
  command.on_run([options] {
    nlohmann::json list = nlohmann::json::array();
    const auto tell = [&](std::string_view name, const Text& what, std::string_view source) {
      if (options->json) {
        list.push_back({{"name", name}, {"what", what.en}, {"what_es", what.es}, {"source", source}});
        return;
      }
      say("{}\n", name);
      say_report(report::wrap("    ", what.en, 4));
      if (!source.empty()) say("    after {}\n", source);
    };
    for (const Hypothesis* hypothesis : hypotheses())
      tell(hypothesis->name, hypothesis->what, hypothesis->source);
    for (const RunCauseInfo& cause : run_causes()) tell(cause.name, cause.what, cause.source);
    if (options->json) say_json(list, 2);
  });
}

}  // namespace greta::cli
