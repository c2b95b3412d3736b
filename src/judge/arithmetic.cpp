#include "judge/arithmetic.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <set>

#include "base/error.h"
#include "bundle/kernel_fields.h"
#include "io/json_fields.h"
#include "model/hyperparameters.h"
#include "numerics/activation.h"
#include "units/instruction.h"

namespace greta {
namespace {

bool multiplies(StageKind kind) {
  return is_projection(kind) || kind == StageKind::scores || kind == StageKind::mix ||
         kind == StageKind::combination;
}

constexpr std::array<std::string_view, 3> kAngles = {"f32", "iterated", "exact"};

Format format_of(const nlohmann::json& entry, const char* field) {
  const auto it = entry.find(field);
  if (it == entry.end() || !it->is_string()) return Format::f32;
  const Format format = format_from_name(it->get<std::string>()).value_or(Format::f32);
  return format == Format::f64 ? Format::f32 : format;
}

/// The matrix instruction of this name;
/// nullptr for one that the table does not have, or that the oracle has no steps for.
const units::Instruction* unit_from_name(const std::string& text) {
  for (const units::Instruction& row : units::instructions()) {
    if (row.rule == units::Rule::two_f16) continue;
    if (!text.empty() && row.full_name() == text) return &row;
  }
  return nullptr;
}

constexpr int kTelling = 8;  // numbers with bits that f16 has and bf16 has not, if they were f16's
constexpr int kSmallestNormalExponent = -14;  // of f16, as frexp() counts: below are fewer bits

bool is_coarse(Format format) { return bounds::unit_roundoff(format) > bounds::kU; }

/// RoPE's angle (docs/numerics.md, "RoPE").
void declare_angle(const nlohmann::json& entry, Declared& declared) {
  const std::string angle = entry.value("angle", "f32");
  if (angle == "exact") declared.angle_rounding = 0;
  if (angle == "iterated") declared = with_iterated_angles(declared);
  declared.angle_rounding = std::max(0.0, entry.value("angle_rounding", declared.angle_rounding));
}

[[noreturn]] void refuse(const Bundle& bundle, const std::string& kernel, const std::string& what) {
  fail_input("{}: manifest.json, kernel {}: {}", bundle.path, kernel, what);
}

void demand_format(const Bundle& bundle, const std::string& kernel, const KernelFieldInfo& field,
                   const nlohmann::json& value) {
  if (value.is_string() && format_from_name(value.get<std::string>())) return;
  refuse(bundle, kernel,
         fmt::format("{} is {}; known are {}", field.name, dump_json(value), fmt::join(kFormatNames, ", ")));
}

void demand_read(const Bundle& bundle, const std::string& kernel, const KernelFieldInfo& field,
                 const nlohmann::json& value, Stage stage) {
  const StageKind kind = info(stage).kind;
  const Format format =
      field.value == FieldValue::format ? *format_from_name(value.get<std::string>()) : Format::f32;
  const bool sum = field.field == KernelField::accumulator && is_coarse(format) && !multiplies(kind);
  const bool blocks = field.field == KernelField::activation && is_block(format) && !multiplies(kind);
  if (field.is_read_by(kind) && !sum && !blocks) return;
  std::vector<std::string_view> read;
  for (const KernelFieldInfo& other : kKernelFields) {
    if (other.is_read_by(kind)) read.push_back(other.name);
  }
  refuse(bundle, kernel,
         fmt::format("{} ran it, whose judge does not read {} {}; it reads {}", name(stage), field.name,
                     dump_json(value), fmt::join(read, ", ")));
}

}  // namespace

KernelClass kernel_class(const Model& model, const PhaseView& view, At at) {
  const ModelConfig& config = model.config;
  at = carrier_of(view, at);
  KernelClass kernels{view.kind(), info(at.stage).kind, {}, false, is_fused(view, at)};
  if (kernels.kind == StageKind::head_norm) kernels.kind = StageKind::norm;
  if (const Event* event = view.find(at)) kernels.route = event->route;
  if (!is_projection(kernels.kind)) return kernels;
  if (const Tensor* weight = weight_of(model, {at.stage, at.layer})) kernels.weight = weight->type;
  const bool after_attention = at.stage > Stage::pv;
  kernels.last_row = kernels.phase == Phase::prefill &&
                     (at.layer == kNoLayer || (at.layer == config.n_layer - 1 && after_attention));
  return kernels;
}

bool is_declared(const nlohmann::json& manifest, const std::string& kernel) {
  return manifest.contains("kernels") && manifest["kernels"].contains(kernel);
}

bool may_be_stored(const Declared& declared) { return declared.roundings.activation == Format::q8_0; }

bool has_coarse_results(const Declared& declared) { return is_coarse(declared.roundings.output); }

Declared declared_arithmetic(const nlohmann::json& manifest, const std::string& kernel) {
  Declared declared;
  if (!is_declared(manifest, kernel)) return declared;
  const nlohmann::json& entry = manifest["kernels"][kernel];
  Roundings& roundings = declared.roundings;
  roundings.activation = format_of(entry, "activation");
  roundings.accumulator = format_of(entry, "accumulator");
  roundings.output = format_of(entry, "output");
  roundings.weight = format_of(entry, "weight");
  // An engine that holds all in a coarse format rounds what each of its steps gives.
  const bool held = is_coarse(roundings.activation) && is_coarse(roundings.output);
  roundings.between = entry.contains("between") ? format_of(entry, "between")
                      : held                    ? roundings.output
                                                : Format::f32;
  roundings.fast_math = entry.value("fast_math", false);
  roundings.rotation = std::max(0, entry.value("rotation", 0));
  roundings.rotation_of_values = std::max(0, entry.value("rotation_of_values", 0));
  roundings.unit = unit_from_name(entry.value("unit", ""));
  roundings.splits = std::clamp(entry.value("splits", 1), 1, 64);
  roundings.slice = std::max(0, entry.value("slice", 0));
  declared.fused_add = entry.value("fused_add", false);
  declared.sum_lanes = std::max(1, entry.value("sum_lanes", declared.sum_lanes));
  declare_angle(entry, declared);
  return declared;
}

void demand_known_declarations(const Bundle& bundle) {
  std::map<std::string, std::set<Stage>> ran;
  for (const Event& event : bundle.events) {
    if (const auto stage = stage_from_name(event.stage)) ran[event.kernel].insert(*stage);
  }
  const nlohmann::json kernels = bundle.manifest.value("kernels", nlohmann::json::object());
  for (const auto& [kernel, entry] : kernels.items()) {
    if (!entry.is_object()) refuse(bundle, kernel, "is no object");
    for (const auto& [key, value] : entry.items()) {
      const auto field = std::ranges::find(kKernelFields, key, &KernelFieldInfo::name);
      if (field == kKernelFields.end()) {
        std::vector<std::string_view> names;
        for (const KernelFieldInfo& known : kKernelFields) names.push_back(known.name);
        refuse(bundle, kernel, fmt::format("{} is unknown; known are {}", key, fmt::join(names, ", ")));
      }
      if (field->value == FieldValue::format) demand_format(bundle, kernel, *field, value);
      if (key == "angle" && std::find(kAngles.begin(), kAngles.end(), value) == kAngles.end())
        refuse(bundle, kernel,
               fmt::format("angle is {}; known are {}", dump_json(value), fmt::join(kAngles, ", ")));
      const bool rotates = key.starts_with("rotation");
      if (rotates && value != 0 && !std::has_single_bit(value.get<uint32_t>()))
        refuse(bundle, kernel, fmt::format("{} is {}; it is a power of two, or 0", key, dump_json(value)));
      for (const Stage stage : ran[kernel]) demand_read(bundle, kernel, *field, value, stage);
    }
  }
}

Declared with_iterated_angles(Declared declared) {
  declared.angle_rounding = 4 * bounds::kU;
  declared.angle_growth = 2 * bounds::kU;
  return declared;
}

Declared all_in(Format format) {
  Declared declared;
  Roundings& roundings = declared.roundings;
  roundings.activation = roundings.output = roundings.between = roundings.scores = format;
  return declared;
}

bool rotation_fits(const Declared& declared, const ModelConfig& config) {
  const auto fits = [&](int rotation) { return rotation == 0 || config.head_dim % rotation == 0; };
  return fits(declared.roundings.rotation) && fits(declared.roundings.rotation_of_values);
}

bool fits_model(const Declared& declared, const Model& model) {
  if (!rotation_fits(declared, model.config)) return false;
  if (!declared.whole_borders) return true;
  const auto differs = [&](const LayerConfig& layer) {
    return layer.yarn.factor != 1 && layer.yarn.whole_borders != declared.whole_borders;
  };
  const std::string key = fmt::format("{}.{}", model.config.architecture, kYarnTruncate);
  return model.file.find(key) == nullptr && std::ranges::any_of(model.config.layers, differs);
}

std::string describe(const Declared& declared) {
  const Roundings& r = declared.roundings;
  std::vector<std::string> parts;
  const auto add = [&](std::string_view what, Format format) {
    if (format != Format::f32) parts.push_back(fmt::format("{} {}", what, name(format)));
  };
  add("operands", r.activation);
  add("weights", r.weight);
  add("sums", r.accumulator);
  add("output", r.output);
  if (r.scores != r.output) add("scores", r.scores);
  if (r.between != r.output) add("results between", r.between);
  if (r.unit != nullptr) parts.push_back(r.unit->full_name());
  if (declared.angle_growth > 0 && !r.fast_math) parts.push_back("angles made one from the other");
  if (r.fast_math) parts.push_back("fast intrinsics");
  if (declared.fused_add) parts.push_back("sums before they are rounded");
  if (declared.whole_borders)
    parts.push_back(fmt::format("YaRN's borders {} to whole pairs, which the file leaves open",
                                *declared.whole_borders ? "rounded" : "not rounded"));
  if (r.rotation > 0) parts.push_back(fmt::format("inputs rotated by {}", r.rotation));
  if (r.rotation_of_values > 0) parts.push_back(fmt::format("values rotated by {}", r.rotation_of_values));
  return parts.empty() ? "f32" : fmt::format("{}", fmt::join(parts, ", "));
}

bool is_held_in(Format format, std::span<const float> values) {
  const std::vector<double> held = round_activations(values, format).value;
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && static_cast<double>(values[i]) != held[i]) return false;
  }
  return true;
}

void HeldFormats::add(std::span<const float> values) {
  bf16_ = bf16_ && is_held_in(Format::bf16, values);
  f16_ = f16_ && is_held_in(Format::f16, values);
  if (!bf16_ || !f16_ || telling_ >= kTelling) return;
  for (const float value : values) {
    int exponent = 0;
    const bool power = std::abs(std::frexp(value, &exponent)) == 0.5F;
    telling_ += std::isfinite(value) && value != 0 && !power && exponent > kSmallestNormalExponent;
  }
}

std::vector<Format> HeldFormats::formats() const {
  std::vector<Format> formats;
  if (bf16_) formats.push_back(Format::bf16);
  if (f16_ && (!bf16_ || telling_ < kTelling)) formats.push_back(Format::f16);
  return formats;
}

}  // namespace greta
