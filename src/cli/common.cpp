#include "cli/common.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/nearest.h"
#include "base/usable_cores.h"
#include "engine/device.h"
#include "sim/device.h"

namespace greta::cli {
namespace {

Format kv_format_of(std::string_view option) {
  for (const Format format : {Format::f16, Format::q8_0}) {
    if (option == name(format)) return format;
  }
  return Format::f32;
}

}  // namespace

void add_model_option(Command& command, CommonOptions& options) {
  command.option("-m,--model", options.model, "the model: a GGUF file or a checkpoint's directory")
      .required()
      .takes("PATH");
}

void add_json_option(Command& command, CommonOptions& options) {
  command.flag("--json", options.json, "one JSON document on stdout, the rest on stderr");
}

void add_engine_options(Command& command, CommonOptions& options) {
  command.option("--threads", options.threads, "default: physical cores in the CPU quota")
      .range(1, 256)
      .takes("N");
  command.option("--device", options.device, "cpu, cuda[:N], emu:CARD, sim:UNIT").takes("DEVICE");
  command.option("--sim-input", options.sim_input, "what a simulated matrix unit multiplies")
      .one_of({"bf16", "f16"});
  command.flag("--invariant", options.invariant, "on sim devices: one order of sums in both phases");
  command.option("--context", options.n_context, "tokens that the run is for (LongRoPE asks)")
      .range(1, std::numeric_limits<int32_t>::max())
      .takes("N");
  command.option("--isa", options.isa, "scalar, avx2, avx512; default: GRETA_ISA or widest").takes("ISA");
  command.option("--kv", options.kv, "format of the KV cache").one_of({"f32", "f16", "q8_0"});
  command.option("--route", options.routes, "STAGES=ROUTE[/SHAPE]: q,k,v=matrix/gemm")
      .takes("RULE")
      .repeatable();
}

Isa parse_isa(const std::string& text, const std::string& where) {
  for (const Isa isa : {Isa::scalar, Isa::avx2, Isa::avx512}) {
    if (text == name(isa)) return isa;
  }
  fail_input("{}{}: unknown ISA; use scalar, avx2 or avx512", where, text);
}

void check_device(const CommonOptions& options) {
  find_device(options.device);
  for (const sim::Device& device : sim::devices()) {
    if (options.device == fmt::format("sim:{}", device.name) && options.sim_input == "bf16" &&
        device.bf16.empty())
      fail_input("--device {}: this unit has no bf16; use --sim-input f16", options.device);
  }
}

Isa chosen_isa(const CommonOptions& options, const Environment& environment) {
  check_device(options);
  const bool by_option = !options.isa.empty();
  if (!by_option && !environment.isa) return best_isa();
  const std::string where = by_option ? "--isa " : "GRETA_ISA=";
  const Isa isa = parse_isa(by_option ? options.isa : *environment.isa, where);
  if (isa > best_isa()) {
    fail_input("{}{}: this machine can't run it; the widest here is {}", where, name(isa), name(best_isa()));
  }
  return isa;
}

int chosen_threads(const CommonOptions& options) {
  return options.threads > 0 ? options.threads : usable_cores();
}

RouteTable route_rules(const CommonOptions& options, RouteTable base) {
  for (const std::string& rule : options.routes) base.add(parse_route_rule(rule));
  return base;
}

RouteTable chosen_routes(const CommonOptions& options, const Environment& environment) {
  RouteTable table;
  if (environment.qkv_force_route || environment.qkv_force_gemm) {
    RouteTable::Rule rule{{Stage::q, Stage::k, Stage::v}, Phase::decode, {}};
    if (environment.qkv_force_route) {
      rule.choice.route = parse_route(*environment.qkv_force_route, "GRETA_QKV_FORCE_ROUTE");
    }
    if (environment.qkv_force_gemm) rule.choice.shape = Shape::gemm;
    table.add(rule);
  }
  return route_rules(options, std::move(table));
}

Engine load_engine(const CommonOptions& options, const Environment& environment, Model model) {
  const Isa isa = chosen_isa(options, environment);
  if (options.n_context > 0) set_context(model, options.n_context);
  return Engine(std::move(model), {.threads = chosen_threads(options),
                                   .isa = isa,
                                   .kv_format = kv_format_of(options.kv),
                                   .device = options.device,
                                   .sim_input = options.sim_input == "f16" ? Format::f16 : Format::bf16,
                                   .invariant = options.invariant,
                                   .declares = !options.undeclared});
}

}  // namespace greta::cli
