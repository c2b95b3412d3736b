#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/output.h"

namespace greta::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string phase = "prefill";
  int64_t rows = kPrefillBlock;
};

std::string shape_text(const Plan& plan, const Op& op) {
  if (op.weight != nullptr) {
    return fmt::format("[S,{}]x[{},{}] {}", op.weight->k, op.weight->n, op.weight->k, name(op.weight->type));
  }
  const BufferId shown = op.out != kNoBuffer ? op.out : op.in[0];
  const Buffer& buffer = plan.buffers[static_cast<size_t>(shown)];
  if (buffer.rows == RowsOf::scores) return fmt::format("[S,{},n_pos]", buffer.cols);
  return fmt::format("[{},{}]", buffer.rows == RowsOf::last ? "1" : "S", buffer.cols);
}

/// The stage, or for a helper the buffer that it fills.
std::string what(const Plan& plan, const Op& op) {
  if (op.stage) return std::string(name(*op.stage));
  return plan.buffers[static_cast<size_t>(op.out)].name;
}

nlohmann::json op_json(const Plan& plan, const Op& op) {
  nlohmann::json json = {{"op", name(op.kind)},
                         {"layer", op.layer},
                         {"kernel", op.action ? op.action->label() : op.kernel->name},
                         {"shape", shape_text(plan, op)},
                         {"sync", op.sync}};
  json["stage"] = op.stage ? nlohmann::json(name(*op.stage)) : nlohmann::json(nullptr);
  if (op.weight != nullptr) {
    json["weight"] = op.weight_name;
    json["weight_type"] = name(op.weight->type);
  }
  return json;
}

void run(const Options& options, const Context& context) {
  Engine engine = load_engine(options.common, context.environment);
  const bool decode = options.phase == "decode";
  const Plan plan = engine.plan(decode ? Phase::decode : Phase::prefill, decode ? 1 : options.rows,
                                chosen_routes(options.common, context.environment));
  if (options.common.json) {
    nlohmann::json json = {
        {"phase", options.phase}, {"max_rows", plan.max_rows}, {"ops", nlohmann::json::array()}};
    for (const Op& op : plan.ops) json["ops"].push_back(op_json(plan, op));
    say_json(json, 1);
    return;
  }
  say("{} of up to S = {} tokens; * waits for all threads first\n\n", options.phase, plan.max_rows);
  say("{:>4} {:>3} {:<14} {:<30} {}\n", "op", "L", "stage", "kernel", "shape");
  for (size_t i = 0; i < plan.ops.size(); ++i) {
    const Op& op = plan.ops[i];
    say("{:>4}{}{:>3} {:<14} {:<30} {}\n", i, op.sync ? "*" : " ",
        op.layer == kNoLayer ? "-" : std::to_string(op.layer), what(plan, op),
        op.action ? op.action->label() : op.kernel->name, shape_text(plan, op));
  }
}

}  // namespace

void add_plan(CLI::App& program, Context& context) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand("plan", "print the plan: what the engine will run, op by op");
  add_model_option(*command, options->common);
  add_json_option(*command, options->common);
  add_engine_options(*command, options->common);
  command->add_option("--phase", options->phase, "prefill or decode")
      ->check(CLI::IsMember({"prefill", "decode"}));
  command->add_option("--rows", options->rows, "the largest block of prefill")->check(CLI::Range(1, 65536));
  command->footer("Example: greta plan -m model.gguf --phase decode --route q,k,v=vector/gemm");
  command->callback([options, &context] { run(*options, context); });
}

}  // namespace greta::cli
