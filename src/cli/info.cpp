#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "base/utf8.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "engine/device.h"
#include "engine/kernel_table.h"
#include "sim/block.h"

namespace greta::cli {
namespace {

struct InfoOptions {
  CommonOptions common;
  bool units = false;
};

constexpr const char* kUnitsSource =
    "Xie et al., \"MMA-Sim\", arXiv 2511.10909, github.com/microsoft/MMA-Sim";

nlohmann::json unit_json(const units::Instruction& row) {
  return {{"name", row.full_name()},
          {"m", row.m},
          {"n", row.n},
          {"k", row.k},
          {"a", info(row.a).name},
          {"b", info(row.b).name},
          {"c", info(row.c).name},
          {"d", info(row.d).name},
          {"rule", describe_rule(row)},
          {"group", row.group},
          {"fraction_bits", row.fraction_bits},
          {"flush", row.flush},
          {"checked_against", name(row.evidence)}};
}

void print_units() {
  say("{:<42} {:<50} {}\n", "instruction", "rule", "checked against");
  for (const units::Instruction& row : units::instructions()) {
    say("{:<42} {:<50} {}\n", row.full_name(), describe_rule(row), name(row.evidence));
  }
  say("\nRules: {}. \"fused 8, F = 24\": 8 products aligned to the largest exponent, truncated\n"
      "to 24 fractional bits, added exactly (docs/numerics.md). Form of this machine: {}.\n",
      kUnitsSource, name(sim::best_form()));
}

nlohmann::json kernel_json(const KernelInfo& kernel) {
  nlohmann::json json = {{"name", kernel.name},
                         {"op", name(kernel.op)},
                         {"isa", name(kernel.isa)},
                         {"activation", name(kernel.roundings.activation)},
                         {"accumulator", name(kernel.roundings.accumulator)},
                         {"output", name(kernel.roundings.output)},
                         {"needs", kernel.needs},
                         {"missing", kernel.missing},
                         {"available", kernel.missing.empty()}};
  if (kernel.weight_type) json["weight_type"] = name(*kernel.weight_type);
  if (kernel.route) json["route"] = name(*kernel.route);
  if (kernel.shape) json["shape"] = name(*kernel.shape);
  return json;
}

std::string value_text(const GgufValue& value) {
  struct Visitor {
    std::string operator()(std::string_view text) const {
      std::string line;
      for (const char c : utf8_head(text, 60)) line += c == '\n' || c == '\t' ? ' ' : c;
      return line + (text.size() > 60 ? fmt::format("... ({} bytes)", text.size()) : "");
    }
    std::string operator()(const GgufArray& array) const { return fmt::format("[{} values]", array.count); }
    std::string operator()(bool value) const { return value ? "true" : "false"; }
    std::string operator()(double value) const { return fmt::format("{:g}", value); }
    std::string operator()(uint64_t value) const { return fmt::format("{}", value); }
    std::string operator()(int64_t value) const { return fmt::format("{}", value); }
  };
  return std::visit(Visitor{}, value);
}

std::map<std::string, int> count_types(const ModelFile& file) {
  std::map<std::string, int> types;
  for (const Tensor& tensor : file.tensors()) ++types[label(tensor.type)];
  return types;
}

nlohmann::json model_json(const ModelFile& file) {
  nlohmann::json metadata = nlohmann::json::object();
  for (const auto& [key, value] : file.metadata()) metadata[printable(key)] = value_text(value);
  nlohmann::json types = nlohmann::json::object();
  for (const auto& [type, count] : count_types(file)) types[type] = count;
  return {{"path", file.path()},       {"format", file.format()},
          {"bytes", file.file_size()}, {"tensors", file.tensors().size()},
          {"weight_types", types},     {"metadata", metadata}};
}

void print_model(const ModelFile& file) {
  say("{}: {}, {} bytes, {} tensors:", file.path(), file.format(), file.file_size(), file.tensors().size());
  for (const auto& [type, count] : count_types(file)) say(" {} {}", count, type);
  say("\n");
  if (const std::string part = part_of_split(file); !part.empty()) say("  {}\n", part);
  for (const auto& [key, value] : file.metadata()) say("  {} = {}\n", key, value_text(value));
}

void print_kernels() {
  say("\n{:<36} {:<7} {:<11} {}\n", "kernel", "route", "activation", "can run here");
  for (const KernelInfo& kernel : kernel_table()) {
    say("{:<36} {:<7} {:<11} {}\n", kernel.name, kernel.route ? name(*kernel.route) : "-",
        name(kernel.roundings.activation),
        kernel.missing.empty() ? "yes" : "no: lacks " + kernel.missing.substr(0, kernel.missing.find(',')));
  }
}

void run_info(const InfoOptions& options) {
  std::optional<ModelFile> file;
  if (!options.common.model.empty()) file = open_model_file(options.common.model);
  if (options.units && !options.common.json) return print_units();
  if (options.common.json) {
    nlohmann::json json = {{"version", GRETA_VERSION}, {"device", "cpu"}, {"isa", name(best_isa())}};
    json["cuda"] = {{"missing", missing_for_cuda()}};
    for (const KernelInfo& kernel : kernel_table()) json["kernels"].push_back(kernel_json(kernel));
    if (file) json["model"] = model_json(*file);
    if (options.units) {
      json["units_source"] = kUnitsSource;
      for (const units::Instruction& row : units::instructions()) json["units"].push_back(unit_json(row));
    }
    say_json(json, 2);
    return;
  }
  if (file) return print_model(*file);
  say("greta {}, device cpu, widest ISA here: {}, cores: {}\n", GRETA_VERSION, name(best_isa()),
      chosen_threads({}));
  const std::string missing = missing_for_cuda();
  say("cuda: {}\n", missing.empty() ? "code and driver are there" : "missing: " + missing);
  print_kernels();
}

}  // namespace

void add_info(Program& program, Context&) {
  auto options = std::make_shared<InfoOptions>();
  Command command = program.command("info", "what can run here; with -m a model's header");
  command.flag("--units", options->units, "matrix units: rules, and how each was checked");
  command.option("-m,--model", options->common.model, "a GGUF file or a checkpoint's directory")
      .takes("PATH");
  add_json_option(command, options->common);
  command.footer("Example: greta info -m model.gguf");
  command.on_run([options] { run_info(*options); });
}

}  // namespace greta::cli
