#include "record/manifest.h"

#include "base/timing.h"
#include "bundle/bundle.h"
#include "bundle/kernel_fields.h"
#include "engine/kernel_table.h"
#include "units/instruction.h"

namespace greta {
namespace {

nlohmann::json kernels_of(Isa isa, const std::string& device) {
  using enum KernelField;
  nlohmann::json kernels = nlohmann::json::object();
  for (const KernelInfo& kernel : kernel_table()) {
    if (kernel.device == "cpu" ? kernel.isa != isa : !serves(kernel.device, device)) continue;
    nlohmann::json entry = nlohmann::json::object();
    const auto declare = [&](KernelField field, auto value) { entry[name(field)] = value; };
    const Roundings& roundings = kernel.roundings;
    declare(op, name(kernel.op));
    declare(activation, name(roundings.activation));
    declare(accumulator, name(roundings.accumulator));
    declare(output, name(roundings.output));
    const bool sums_rows =
        kernel.op == OpKind::rms_norm || kernel.op == OpKind::softmax || kernel.op == OpKind::expert_weights;
    if (sums_rows) declare(sum_lanes, kSumLanes);
    if (kernel.op == OpKind::rope) declare(angle_rounding, 0);  // position times frequency has both low parts
    if (roundings.weight != Format::f32) declare(weight, name(roundings.weight));
    if (roundings.unit != nullptr) declare(unit, roundings.unit->full_name());
    if (roundings.splits > 1) declare(splits, roundings.splits);
    if (roundings.slice > 0) declare(slice, roundings.slice);
    if (kernel.weight_type) declare(weight_type, name(*kernel.weight_type));
    if (kernel.route) declare(route, name(*kernel.route));
    if (kernel.shape) declare(shape, name(*kernel.shape));
    kernels[kernel.name] = std::move(entry);
  }
  return kernels;
}

}  // namespace

nlohmann::json make_manifest(const Engine& engine, const MatrixRequest& request, const Origin& origin) {
  const Model& model = engine.model();
  nlohmann::json prompts = nlohmann::json::array();
  for (size_t i = 0; i < request.prompts.size(); ++i) {
    const Prompt& prompt = request.prompts[i];
    prompts.push_back({{"id", prompt.id},
                       {"text", prompt.text},
                       {"tokens", prompt.tokens},
                       {"decode0_row", name(decode0_row(request, i))}});
  }
  nlohmann::json experiments = nlohmann::json::array();
  for (const Experiment& experiment : request.experiments) experiments.push_back(to_json(experiment));
  nlohmann::json options = {
      {"route", origin.routes}, {"inject", origin.injected}, {"invariant", engine.options().invariant}};
  if (request.drawn.count > 0) options["seed"] = request.drawn.seed;
  nlohmann::json manifest = {
      {"schema", kBundleSchema},
      {"engine", "greta"},
      {"version", GRETA_VERSION},
      {"model",
       {{"file", model.file.path()},
        {"bytes", model.file.file_size()},
        {"hash", model.file.xxh3()},
        {"name", model.config.name},
        {"architecture", model.config.architecture},
        {"n_layer", model.config.n_layer},
        {"n_embd", model.config.n_embd},
        {"n_head", model.config.n_head},
        {"n_head_kv", model.config.n_head_kv},
        {"head_dim", model.config.head_dim},
        {"n_ff", model.config.n_ff},
        {"n_vocab", model.config.n_vocab}}},
      {"device", engine.options().device},
      {"isa", name(engine.options().isa)},
      {"threads", engine.options().threads},
      {"kv_format", name(engine.options().kv_format)},
      {"options", options},
      {"environment", origin.environment},
      {"prompts", prompts},
      {"experiments", experiments},
      {"kernels", engine.options().declares ? kernels_of(engine.options().isa, engine.kernels())
                                            : nlohmann::json::object()},
      {"time", utc_now()},
      {"command_line", origin.command_line},
      {"aligned", request.aligned},
      {"shared_cache", true},
      {"complete", false}};
  if (model.config.context > 0) manifest["context"] = model.config.context;
  if (const std::string card = engine.card(); !card.empty()) manifest["card"] = card;
  return manifest;
}

}  // namespace greta
