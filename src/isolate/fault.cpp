#include "isolate/fault.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "engine/transform.h"
#include "isolate/fault_twins.h"

namespace greta::isolate {
namespace {

constexpr const char* kB331 = "B3.34-36, B3.40: prefill read Wq, Wk, Wv, Wo column-major";
constexpr const char* kIgnored = "B3.31: MAE equal to six digits in E0-E4";

const std::array<Fault, 5> kFaults{{
    {"wq_column_major", Stage::q, "the dequantised Wq is read column-major", kB331, make_column_major},
    {"wk_column_major", Stage::k, "the dequantised Wk is read column-major", kB331, make_column_major},
    {"wv_column_major", Stage::v, "the dequantised Wv is read column-major", kB331, make_column_major},
    {"wo_column_major", Stage::attn_out, "the dequantised Wo is read column-major", kB331, make_column_major},
    {"qkv_route_ignored", Stage::q, "forced routes of q, k and v have no effect", kIgnored, nullptr},
}};

std::string fault_names() {
  std::string names;
  for (const Fault& fault : kFaults) names += (names.empty() ? "" : ", ") + fault.name;
  return names;
}

int64_t parse_number(std::string_view digits, const std::string& text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size() || digits.empty() || value < 0) {
    fail_input("--inject {}: \"{}\" is no number", text, digits);
  }
  return value;
}

void parse_condition(std::string_view condition, FaultSpec& spec) {
  if (condition.starts_with("S>")) {
    spec.condition.rows_above = parse_number(condition.substr(2), spec.text);
  } else if (condition.starts_with("S=")) {
    spec.condition.rows_equal = parse_number(condition.substr(2), spec.text);
  } else {
    fail_input("--inject {}: unknown condition \"{}\"; use S>n or S=n", spec.text, condition);
  }
}

bool concerns(const FaultSpec& spec, Phase phase) { return !spec.phase || *spec.phase == phase; }

}  // namespace

bool FaultCondition::holds(const KernelArgs& args) const {
  if (rows_above && args.block_rows <= *rows_above) return false;
  return !rows_equal || args.block_rows == *rows_equal;
}

std::span<const Fault> faults() { return kFaults; }

FaultSpec parse_fault(const std::string& text, int64_t n_layer) {
  FaultSpec spec;
  spec.text = text;
  std::string_view rest = text;
  while (true) {  // conditions, from the end
    const size_t comma = rest.rfind(',');
    if (comma == std::string_view::npos) break;
    parse_condition(rest.substr(comma + 1), spec);
    rest = rest.substr(0, comma);
  }
  if (const size_t colon = rest.find(':'); colon != std::string_view::npos) {
    const int64_t layer = parse_number(rest.substr(colon + 1), text);
    if (layer >= n_layer) fail_input("--inject {}: layer {} of a model of {} layers", text, layer, n_layer);
    spec.layer = static_cast<int>(layer);
    rest = rest.substr(0, colon);
  }
  if (const size_t at = rest.find('@'); at != std::string_view::npos) {
    const std::string_view phase = rest.substr(at + 1);
    if (phase != "prefill" && phase != "decode") {
      fail_input("--inject {}: unknown phase \"{}\"; use prefill or decode", text, phase);
    }
    spec.phase = phase == "prefill" ? Phase::prefill : Phase::decode;
    rest = rest.substr(0, at);
  }
  const auto it =
      std::find_if(kFaults.begin(), kFaults.end(), [&](const Fault& f) { return f.name == rest; });
  if (it == kFaults.end())
    fail_input("--inject {}: unknown fault \"{}\"; known: {}", text, rest, fault_names());
  spec.fault = &*it;
  return spec;
}

void apply_faults(Plan& plan, const Engine& engine, std::span<const FaultSpec> specs) {
  for (const FaultSpec& spec : specs) {
    if (!concerns(spec, plan.phase) || spec.fault->make_twin == nullptr) continue;
    for (size_t i = 0; i < plan.ops.size(); ++i) {
      const Op& op = plan.ops[i];
      if (op.stage != spec.fault->stage || op.action || (spec.layer && *spec.layer != op.layer)) continue;
      replace_kernel(plan, i, spec.fault->make_twin(engine, op, spec.condition));
    }
  }
  set_barriers(plan);
}

RouteTable effective_routes(const RouteTable& wanted, std::span<const FaultSpec> specs, Phase phase) {
  const bool ignored = std::any_of(specs.begin(), specs.end(), [&](const FaultSpec& spec) {
    return spec.fault->name == "qkv_route_ignored" && concerns(spec, phase);
  });
  return ignored ? RouteTable{} : wanted;
}

}  // namespace greta::isolate
