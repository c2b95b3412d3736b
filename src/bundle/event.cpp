#include "bundle/event.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/error.h"
#include "base/hash.h"
#include "io/json_fields.h"
#include "io/safetensors.h"

namespace greta {
namespace {

constexpr int64_t kMaxLayers = 1'000'000;
constexpr int64_t kMaxExtent = int64_t{1} << 48;

std::string dtype_field(const Fields& fields) {
  std::string dtype = fields.text_or("dtype", "f32");
  if (std::find(kDtypes.begin(), kDtypes.end(), dtype) == kDtypes.end())
    fields.fail("dtype", fmt::format("is \"{}\"; known: {}", dtype, fmt::join(kDtypes, ", ")));
  return dtype;
}

std::string hash_field(const Fields& fields) {
  std::string hash = fields.text_or("hash", "");
  if (hash.empty()) return hash;
  for (char& c : hash) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const bool hex = hash.find_first_not_of("0123456789abcdef") == std::string::npos;
  if (hash.size() != 32 || !hex) fields.fail("hash", "must be XXH3-128 as 32 hex digits");
  return hash;
}

void read_cell(const Fields& fields, Event& event) {
  event.prompt_id = fields.text("prompt_id");
  event.cell = fields.text_or("cell", "");
  event.experiment = fields.text_or("experiment", "");
  // Another engine that runs one configuration need not know of experiments:
  // it is E0, its engine's own choice.
  if (event.experiment.empty()) {
    const size_t slash = event.cell.find('/');
    event.experiment = slash == std::string::npos ? "E0" : event.cell.substr(0, slash);
  }
  if (event.cell.empty()) event.cell = event.experiment + "/" + event.prompt_id;
}

void read_summary(const Fields& fields, Event& event) {
  event.summary.min = fields.number("min").value_or(0);
  event.summary.max = fields.number("max").value_or(0);
  event.summary.mean = fields.number("mean").value_or(0);
  event.summary.rms = fields.number("rms").value_or(0);
  event.summary.nan = fields.integer_or("nan", 0, kMaxExtent, 0);
  event.summary.inf = fields.integer_or("inf", 0, kMaxExtent, 0);
}

void read_place(const Fields& fields, Event& event) {
  event.file = fields.text_or("file", "");
  event.tensor = fields.text_or("tensor", "");
  if (event.file.empty() != event.tensor.empty()) {
    fields.fail(event.file.empty() ? "file" : "tensor", "is missing: data need both \"file\" and \"tensor\"");
  }
  const bool plain = event.file.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
  if (!event.file.empty() && (!plain || !event.file.ends_with(".safetensors"))) {
    fields.fail("file", "must be the plain name of a .safetensors file beside events.jsonl");
  }
  if (event.hash.empty() && event.file.empty())
    fields.fail("hash", "is missing, and no data are kept either");
}

void read_raw(const Fields& fields, Event& event) {
  const std::optional<Stage> stage = stage_from_name(event.stage);
  for (const auto& [name, flag] : {std::pair{"unscaled", &event.unscaled}, {"unmasked", &event.unmasked}}) {
    *flag = fields.boolean_or(name, false);
    if (*flag && (!stage || info(*stage).kind != StageKind::scores)) fields.fail(name, "is said of qk only");
  }
}

/// What an op says of itself.
void read_op(const nlohmann::json& json, const Fields& fields, Event& event) {
  event.op = fields.text_or("op", "");
  event.name = fields.text_or("name", "");
  if (fields.has("inputs")) {
    const nlohmann::json& inputs = json.at("inputs");
    if (!inputs.is_array()) fields.fail("inputs", "must be a list of names");
    for (const nlohmann::json& input : inputs) {
      if (!input.is_string() || input.get_ref<const std::string&>().empty())
        fields.fail("inputs", "must be a list of names");
      event.inputs.push_back(input);
    }
  }
  if (fields.has("attributes")) {
    const nlohmann::json& attributes = json.at("attributes");
    if (!attributes.is_object()) fields.fail("attributes", "must be an object");
    for (const auto& [name, value] : attributes.items()) {
      if (value.is_null()) continue;
      if (value.is_boolean())
        event.attributes[name] = value.get<bool>() ? 1.0 : 0.0;
      else if (value.is_number())
        event.attributes[name] = value.get<double>();
      else if (value.is_string())
        event.attributes[name] = value.get<std::string>();
      else
        fields.fail("attributes", "are numbers, words, true and false");
    }
  }
  if (event.op.empty() && (!event.inputs.empty() || !event.attributes.empty()))
    fields.fail("op", "is missing: inputs and attributes are an op's");
}

void read_operands(const nlohmann::json& json, const std::string& where, const Fields& fields, Event& event) {
  if (!fields.has("operands")) return;
  const nlohmann::json& operands = json.at("operands");
  if (!operands.is_array()) fields.fail("operands", "must be a list of objects");
  for (const nlohmann::json& operand : operands) {
    if (!operand.is_object()) fields.fail("operands", "must be a list of objects");
    const Fields own(operand, where + ": operands");
    SeenOperand seen{own.text("stage"), hash_field(own), dtype_field(own)};
    if (seen.hash.empty()) own.fail("hash", "is missing");
    event.operands.push_back(std::move(seen));
  }
}

/// Ops and their inputs need no token: what they do not say is layer -1, and rows from 0.
void read_where(const Fields& fields, Event& event) {
  const bool is_stage = event.op.empty() && event.name.empty();
  event.layer = static_cast<int>(
      is_stage || fields.has("layer") ? fields.integer("layer", kNoLayer, kMaxLayers) : kNoLayer);
  event.stage = is_stage ? fields.text("stage") : fields.text_or("stage", "");
  if (is_stage && event.stage.empty()) fields.fail("stage", "is empty");
  event.shape = fields.integers("shape", 0, kMaxExtent);
  if (is_stage || fields.has("positions")) {
    event.positions = fields.integers("positions", 0, kMaxExtent);
  } else {
    const int64_t rows = event.shape.empty() ? 1 : event.shape.front();
    event.positions = {0, std::max<int64_t>(rows, 1) - 1};
  }
  if (event.positions.empty()) fields.fail("positions", "is empty: give [first, last] or a list");
  if (event.positions.size() == 2 && event.positions[0] > event.positions[1]) {
    fields.fail("positions", "has first > last");
  }
}

}  // namespace

std::vector<int64_t> positions_of(const Event& event) {
  constexpr int64_t kSane = 1 << 24;  // a bundle may say anything
  if (event.positions.size() != 2) return event.positions;
  const int64_t first = event.positions[0], last = event.positions[1];
  std::vector<int64_t> positions;
  if (first < 0 || last < first || last - first > kSane) return positions;
  for (int64_t position = first; position <= last; ++position) positions.push_back(position);
  return positions;
}

std::vector<int64_t> packed_positions(const std::vector<int64_t>& positions) {
  if (positions.empty()) return positions;
  const int64_t span = positions.back() - positions.front() + 1;
  if (span == std::ssize(positions)) return {positions.front(), positions.back()};
  return positions;
}

void describe(Event& event, std::span<const float> values) {
  const std::optional<int64_t> count = element_count(event.shape);
  if (!count || *count != std::ssize(values)) {
    fail_machine("trace of {} {}: shape [{}] does not hold {} values", event.cell, event.stage,
                 fmt::join(event.shape, ", "), values.size());
  }
  event.hash = hash_floats(values).hex();
  event.summary = summarize(values);
}

nlohmann::json to_json(const Event& event) {
  nlohmann::json json{
      {"cell", event.cell},           {"experiment", event.experiment}, {"prompt_id", event.prompt_id},
      {"phase", event.phase},         {"layer", event.layer},           {"stage", event.stage},
      {"positions", event.positions}, {"shape", event.shape},           {"dtype", event.dtype},
      {"route", event.route},         {"kernel", event.kernel},         {"launches", event.launches},
      {"hash", event.hash},           {"min", event.summary.min},       {"max", event.summary.max},
      {"mean", event.summary.mean},   {"rms", event.summary.rms},       {"nan", event.summary.nan},
      {"inf", event.summary.inf},
  };
  if (event.unscaled) json["unscaled"] = true;
  if (event.unmasked) json["unmasked"] = true;
  if (!event.name.empty()) json["name"] = event.name;
  for (const SeenOperand& operand : event.operands)
    json["operands"].push_back({{"stage", operand.stage}, {"dtype", operand.dtype}, {"hash", operand.hash}});
  if (!event.op.empty()) {
    json["op"] = event.op;
    json["inputs"] = event.inputs;
    nlohmann::json attributes = nlohmann::json::object();
    for (const auto& [name, value] : event.attributes)
      std::visit([&, key = name](const auto& known) { attributes[key] = known; }, value);
    json["attributes"] = std::move(attributes);
  }
  if (!event.file.empty()) {
    json["file"] = event.file;
    json["tensor"] = event.tensor;
  }
  return json;
}

Event event_from_json(const nlohmann::json& json, const std::string& where) {
  const Fields fields(json, where);
  Event event;
  read_cell(fields, event);
  event.phase = fields.text("phase");
  if (event.phase.empty()) fields.fail("phase", "is empty");
  read_op(json, fields, event);
  read_where(fields, event);
  const std::optional<int64_t> count = element_count(event.shape);
  if (!count) fields.fail("shape", "holds more elements than 64 bits can count");
  event.dtype = dtype_field(fields);
  event.route = fields.text_or("route", "");
  event.kernel = fields.text_or("kernel", "");
  event.launches =
      static_cast<uint64_t>(fields.integer_or("launches", 0, std::numeric_limits<int64_t>::max(), 0));
  read_raw(fields, event);
  read_operands(json, where, fields, event);
  event.hash = hash_field(fields);
  read_summary(fields, event);
  event.summary.count = *count;
  read_place(fields, event);
  return event;
}

}  // namespace greta
