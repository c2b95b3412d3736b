#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/output.h"

namespace greta::cli {
namespace {

struct PlanOptions {
  CommonOptions common;
  std::string phase = "prefill";
  int64_t rows = kPrefillBlock;
};

std::string shape_text(const Plan& plan, const Op& op) {
  const KernelCall* call = kernel_call(op);
  if (const PackedWeight* weight = call != nullptr ? call->weight : nullptr) {
    return fmt::format("[S,{}]x[{},{}] {}", weight->k, weight->n, weight->k, name(weight->type));
  }
  if (op.writes == kNoBuffer && op.reads.empty()) return "";
  const Buffer& buffer = plan.buffer(op.writes != kNoBuffer ? op.writes : op.reads[0]);
  if (buffer.rows == RowsOf::scores) return fmt::format("[S,{},n_pos]", buffer.cols);
  return fmt::format("[{},{}]", buffer.rows == RowsOf::last ? "1" : "S", buffer.cols);
}

/// The kernel, or the action in its place or of its own.
std::string runs(const Op& op) {
  const Action* action = action_of(op);
  return action != nullptr ? action->label() : kernel_call(op)->kernel->name;
}

/// The stage, or for a helper the buffer that it fills.
std::string what(const Plan& plan, const Op& op) {
  if (op.makes) return std::string(name(*op.makes));
  return op.writes != kNoBuffer ? plan.buffer(op.writes).name : "";
}

nlohmann::json op_json(const Plan& plan, const Op& op) {
  const KernelCall* call = kernel_call(op);
  nlohmann::json json = {{"op", call != nullptr ? name(call->kernel->op) : "action"},
                         {"layer", op.layer},
                         {"kernel", runs(op)},
                         {"shape", shape_text(plan, op)},
                         {"sync", op.sync}};
  json["stage"] = op.makes ? nlohmann::json(name(*op.makes)) : nlohmann::json(nullptr);
  if (call != nullptr && call->weight != nullptr) {
    json["weight"] = call->weight_name;
    json["weight_type"] = name(call->weight->type);
  }
  return json;
}

void run_plan(const PlanOptions& options, const Context& context) {
  Engine engine = load_engine(options.common, context.environment);
  const bool decode = options.phase == "decode";
  const Plan plan = engine.plan(decode ? Phase::decode : Phase::prefill, decode ? 1 : options.rows,
                                chosen_routes(options.common, context.environment));
  if (options.common.json) {
    nlohmann::json json = {
        {"phase", options.phase}, {"max_rows", plan.max_rows}, {"ops", nlohmann::json::array()}};
    for (const Op& op : plan.ops()) json["ops"].push_back(op_json(plan, op));
    say_json(json, 1);
    return;
  }
  say("{} of up to S = {} tokens; * waits for all threads first\n\n", options.phase, plan.max_rows);
  say("{:>4} {:>3} {:<14} {:<30} {}\n", "op", "L", "stage", "kernel", "shape");
  for (const Op& op : plan.ops()) {
    say("{:>4}{}{:>3} {:<14} {:<30} {}\n", op.id, op.sync ? "*" : " ",
        op.layer == kNoLayer ? "-" : std::to_string(op.layer), what(plan, op), runs(op),
        shape_text(plan, op));
  }
}

}  // namespace

void add_plan(Program& program, Context& context) {
  auto options = std::make_shared<PlanOptions>();
  Command command = program.command("plan", "print the plan: what the engine will run, op by op");
  add_model_option(command, options->common);
  add_json_option(command, options->common);
  add_engine_options(command, options->common);
  command.option("--phase", options->phase, "prefill or decode").one_of({"prefill", "decode"});
  command.option("--rows", options->rows, "the largest block of prefill").range(1, 65536);
  command.footer("Example: greta plan -m model.gguf --phase decode --route q,k,v=vector/gemm");
  command.on_run([options, &context] { run_plan(*options, context); });
}

}  // namespace greta::cli
