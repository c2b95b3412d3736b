#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "isolate/fault.h"
#include "isolate/hypothesis.h"

namespace greta::cli {

void add_faults(CLI::App& program, Context&) {
  auto options = std::make_shared<CommonOptions>();
  CLI::App* command = program.add_subcommand("faults", "the bugs that isolate --inject can put in");
  add_json_option(*command, *options);
  command->footer("Example: greta isolate -m model.gguf --inject 'wq_column_major@prefill,S>1'");
  command->callback([options] {
    nlohmann::json list = nlohmann::json::array();
    for (const isolate::Fault& fault : isolate::faults()) {
      if (options->json) {
        list.push_back({{"name", fault.name},
                        {"stage", name(fault.stage)},
                        {"what", fault.what},
                        {"source", fault.source}});
      } else {
        fmt::print("{:<20} {}: {}\n{:<20} after {}\n", fault.name, name(fault.stage), fault.what, "",
                   fault.source);
      }
    }
    if (options->json) fmt::print("{}\n", list.dump(2));
  });
}

void add_hypotheses(CLI::App& program, Context&) {
  auto options = std::make_shared<CommonOptions>();
  CLI::App* command = program.add_subcommand("hypotheses", "the causes that a fault is tried against");
  add_json_option(*command, *options);
  command->footer("Example: greta hypotheses --json");
  command->callback([options] {
    nlohmann::json list = nlohmann::json::array();
    for (const isolate::Hypothesis* hypothesis : isolate::hypotheses()) {
      if (options->json) {
        list.push_back({{"name", hypothesis->name},
                        {"what", hypothesis->what},
                        {"what_es", hypothesis->what_es},
                        {"source", hypothesis->source}});
      } else {
        fmt::print("{}\n    {}\n    after {}\n", hypothesis->name, hypothesis->what, hypothesis->source);
      }
    }
    if (options->json) fmt::print("{}\n", list.dump(2));
  });
}

}  // namespace greta::cli
