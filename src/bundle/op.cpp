#include "bundle/op.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <tuple>

#include "base/error.h"

namespace greta {
namespace {

constexpr bool kWord = true, kRequired = true;

constexpr OpInfo kOps[] = {
    {Op::mul_mat, "mul_mat", "weight, x", 2, 2, {}},
    {Op::mul_mat_id, "mul_mat_id", "weights, x, ids", 3, 3, {}},
    {Op::get_rows, "get_rows", "table, ids", 2, 2, {}},
    {Op::rms_norm, "rms_norm", "x, [weight]", 1, 2, {{{"eps", false, kRequired}}}},
    {Op::norm, "norm", "x, [weight, bias]", 1, 3, {{{"eps", false, kRequired}}}},
    {Op::l2_norm, "l2_norm", "x", 1, 1, {{{"eps", false, kRequired}}}},
    {Op::rope,
     "rope",
     "x, [positions, factors]",
     1,
     3,
     {{{"base", false, kRequired}, {"dims"}, {"head_dim"}, {"layout", kWord}, {"scale"}}}},
    {Op::soft_max, "soft_max", "scores, [mask, sinks]", 1, 3, {{{"scale"}, {"softcap"}, {"causal"}}}},
    {Op::flash_attention,
     "flash_attention",
     "q, k, v, [mask, sinks]",
     3,
     5,
     {{{"scale"}, {"softcap"}, {"causal"}}}},
    {Op::add, "add", "a, b", 2, 2, {}},
    {Op::mul, "mul", "a, b", 2, 2, {}},
    {Op::scale, "scale", "x", 1, 1, {{{"scale", false, kRequired}, {"bias"}}}},
    {Op::glu,
     "glu",
     "gate, [up]",
     1,
     2,
     {{{"activation", kWord, kRequired}, {"swapped"}, {"alpha"}, {"limit"}}}},
    {Op::unary, "unary", "x", 1, 1, {{{"activation", kWord, kRequired}}}},
    {Op::argsort, "argsort", "x", 1, 1, {{{"order", kWord}}}},
    {Op::top_k, "top_k", "x", 1, 1, {}},
    {Op::set_rows, "set_rows", "before, rows, ids", 3, 3, {}},
    {Op::cpy, "cpy", "x", 1, 1, {}},
    {Op::concat, "concat", "a, b, [...]", 2, 64, {{{"axis", false, kRequired}}}},
    {Op::ssm_conv, "ssm_conv", "x, weight", 2, 2, {}},
    {Op::ssm_scan, "ssm_scan", "state, x, dt, A, B, C", 6, 6, {}},
    {Op::gated_delta_net, "gated_delta_net", "q, k, v, g, beta, state", 6, 6, {{{"scale"}}}},
};

std::string shortened(const std::string& text) {
  return text.size() <= 80 ? text : text.substr(0, 77) + "...";
}

std::string place_of(const Bundle& bundle, const Event& event) {
  return fmt::format("{}: op {} of {} {}", bundle.path,
                     shortened(event.name.empty() ? event.op : event.op + " \"" + event.name + "\""),
                     shortened(event.cell), shortened(event.phase));
}

void check_op(const Bundle& bundle, const Event& event, const OpInfo& op) {
  if (event.inputs.size() < op.least || event.inputs.size() > op.most)
    fail_input("{}: has {} inputs; it takes {}", place_of(bundle, event), event.inputs.size(), op.inputs);
  std::vector<std::string_view> known;
  for (const AttributeInfo& row : op.attributes) {
    if (row.name.empty()) continue;
    known.push_back(row.name);
    const auto it = event.attributes.find(std::string(row.name));
    if (it == event.attributes.end()) {
      if (row.required) fail_input("{}: lacks the attribute {}", place_of(bundle, event), row.name);
      continue;
    }
    if (std::holds_alternative<std::string>(it->second) != row.is_word)
      fail_input("{}: the attribute {} must be a {}", place_of(bundle, event), row.name,
                 row.is_word ? "word" : "number");
  }
  for (const auto& [name, value] : event.attributes) {
    if (std::ranges::find(known, name) != known.end()) continue;
    fail_input("{}: has no attribute {}; it has: {}", place_of(bundle, event), shortened(name),
               known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", ")));
  }
}

constexpr std::string_view kWeight = "weight:";

/// Events by what inputs call them: in their cell and phase, and anywhere.
class Names {
 public:
  void add(const Event& event) {
    const std::string& name = event.name.empty() ? event.tensor : event.name;
    if (name.empty()) return;
    near_[{event.experiment, event.prompt_id, event.phase, name}] = &event;
    anywhere_[name] = &event;
  }
  const Event* find(const Event& op, const std::string& name) const {
    const auto near = near_.find({op.experiment, op.prompt_id, op.phase, name});
    if (near != near_.end()) return near->second;
    const auto any = anywhere_.find(name);
    return any == anywhere_.end() ? nullptr : any->second;
  }

 private:
  std::map<std::tuple<std::string, std::string, std::string, std::string>, const Event*> near_;
  std::map<std::string, const Event*> anywhere_;
};

}  // namespace

std::span<const OpInfo> known_ops() { return kOps; }

const OpInfo* find_op(std::string_view name) {
  const auto it = std::ranges::find(kOps, name, &OpInfo::name);
  return it == std::end(kOps) ? nullptr : &*it;
}

std::map<const Event*, std::vector<OpInput>> op_inputs(const Bundle& bundle) {
  std::map<const Event*, std::vector<OpInput>> all;
  Names names;
  for (const Event& event : bundle.events) {
    if (const OpInfo* op = event.op.empty() ? nullptr : find_op(event.op)) {
      check_op(bundle, event, *op);
      std::vector<OpInput>& inputs = all[&event];
      for (const std::string& name : event.inputs) {
        if (name.starts_with(kWeight)) {
          const size_t begin = name.find_first_not_of(' ', kWeight.size());
          inputs.push_back({nullptr, begin == std::string::npos ? "" : name.substr(begin)});
          continue;
        }
        inputs.push_back({names.find(event, name), ""});
        if (inputs.back().event == nullptr)
          fail_input(
              "{}: its input \"{}\" is not recorded before it; name a tensor that is, or \"weight: NAME\"",
              place_of(bundle, event), shortened(name));
      }
    }
    names.add(event);
  }
  return all;
}

double number_of(const Event& op, const std::string& attribute, double fallback) {
  const auto it = op.attributes.find(attribute);
  if (it == op.attributes.end()) return fallback;
  const double* number = std::get_if<double>(&it->second);
  return number == nullptr ? fallback : *number;
}

std::string word_of(const Event& op, const std::string& attribute, const std::string& fallback) {
  const auto it = op.attributes.find(attribute);
  if (it == op.attributes.end()) return fallback;
  const std::string* word = std::get_if<std::string>(&it->second);
  return word == nullptr ? fallback : *word;
}

}  // namespace greta
