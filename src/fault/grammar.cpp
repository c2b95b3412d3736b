// The grammar of --inject.

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"
#include "base/nearest.h"
#include "fault/fault.h"

namespace greta {
namespace {

template <class Number>
Number parse_number(std::string_view digits, const std::string& text) {
  Number value{};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (error != std::errc{} || end != digits.data() + digits.size() || digits.empty()) {
    fail_input("--inject {}: \"{}\" is no number", text, digits);
  }
  return value;
}

int64_t parse_count(std::string_view digits, const std::string& text) {
  const int64_t value = parse_number<int64_t>(digits, text);
  if (value < 0) fail_input("--inject {}: \"{}\" is no number from 0 on", text, digits);
  return value;
}

void parse_condition(std::string_view condition, FaultSpec& spec) {
  struct Form {
    std::string_view start;
    std::optional<int64_t> FaultCondition::*field;
  };
  constexpr Form kForms[] = {
      {"S>", &FaultCondition::rows_above},       {"S=", &FaultCondition::rows_equal},
      {"pos>=", &FaultCondition::from_position}, {"head>=", &FaultCondition::from_head},
      {"K>", &FaultCondition::k_above},          {"every=", &FaultCondition::every},
  };
  for (const Form& form : kForms) {
    if (!condition.starts_with(form.start)) continue;
    spec.condition.*form.field = parse_count(condition.substr(form.start.size()), spec.text);
    return;
  }
  if (condition.starts_with("by=")) {
    spec.size = parse_number<double>(condition.substr(3), spec.text);
    if (*spec.size == 0 || !std::isfinite(*spec.size)) {
      fail_input("--inject {}: by= takes the relative size of the error, such as 0.01; not 0", spec.text);
    }
    return;
  }
  fail_input(
      "--inject {}: unknown condition \"{}\"; use S>n, S=n, pos>=n, K>n, head>=n, every=n (the n-th runs "
      "only) or by=X (size of the error)",
      spec.text, condition);
}

/// Where the spec asks for what the fault can't have.
void check(const FaultSpec& spec) {
  const Fault& fault = *spec.fault;
  const FaultCondition& c = spec.condition;
  const auto reject = [&](const char* condition, const char* why) {
    fail_input("--inject {}: {} does not apply to {}: {}", spec.text, condition, fault.name, why);
  };
  if (c.every && *c.every == 0) reject("every=0", "every=1 is every run");
  if (spec.size && !fault.has_size()) reject("by=", "this fault has no size (greta faults --json: has_size)");
  if (!fault.make) {
    const bool any = c.rows_above || c.rows_equal || c.from_position || c.from_head || c.k_above || c.every;
    if (any || spec.layer) reject("a layer or condition", "it acts on the plan's routes as a whole");
    return;
  }
  if (c.from_head && !has_heads(fault.stage)) reject("head>=", "its stage has no heads");
  if (c.k_above && !is_projection(fault.stage)) reject("K>", "its stage multiplies with no matrix");
  if (spec.layer && is_outside_layers(fault.stage)) reject("a layer", "its stage lies outside the layers");
}

const Fault* find_fault(std::string_view name) {
  const auto it =
      std::find_if(faults().begin(), faults().end(), [&](const Fault& f) { return f.name == name; });
  return it == faults().end() ? nullptr : &*it;
}

}  // namespace

namespace {

std::string meant(std::string_view word) {
  std::vector<std::string> names;
  for (const Fault& fault : faults()) names.emplace_back(fault.name);
  const std::string hint = did_you_mean(word, names);
  return hint.empty() ? ";" : hint;
}

}  // namespace

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
    const int64_t layer = parse_count(rest.substr(colon + 1), text);
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
  spec.fault = find_fault(rest);
  if (spec.fault == nullptr)
    fail_input("--inject {}: unknown fault \"{}\"{} `greta faults` lists them", text, rest, meant(rest));
  check(spec);
  return spec;
}

std::vector<FaultSpec> parse_faults(std::span<const std::string> texts, int64_t n_layer) {
  std::vector<FaultSpec> specs;
  for (const std::string& text : texts) specs.push_back(parse_fault(text, n_layer));
  return specs;
}

}  // namespace greta
