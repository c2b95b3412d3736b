#include "engine/route.h"

#include <algorithm>
#include <sstream>

#include "base/error.h"

namespace greta {
namespace {

std::vector<Stage> projections() {
  std::vector<Stage> stages;
  for (const StageInfo& row : kStageTable) {
    if (is_projection(row.kind)) stages.push_back(row.stage);
  }
  return stages;
}

std::string names_of(const std::vector<Stage>& stages) {
  std::vector<std::string_view> names;
  for (const Stage stage : stages) names.push_back(name(stage));
  return fmt::format("{}", fmt::join(names, ","));
}

std::vector<Stage> parse_stages(const std::string& list, const std::string& rule) {
  if (list == "all") return projections();
  std::vector<Stage> stages;
  std::istringstream in(list);
  for (std::string item; std::getline(in, item, ',');) {
    const std::optional<Stage> stage = stage_from_name(item);
    if (!stage || !is_projection(*stage)) {
      fail_input("--route {}: \"{}\" is no projection; use all or some of {}", rule, item,
                 names_of(projections()));
    }
    stages.push_back(*stage);
  }
  if (stages.empty()) fail_input("--route {}: no stage before the '='", rule);
  return stages;
}

}  // namespace

RouteChoice RouteTable::choice(Stage stage, Phase phase) const {
  RouteChoice result;
  for (const Rule& rule : rules_) {
    if (rule.phase && *rule.phase != phase) continue;
    if (std::find(rule.stages.begin(), rule.stages.end(), stage) == rule.stages.end()) continue;
    result = rule.choice;
  }
  return result;
}

std::optional<Route> parse_route(std::string_view text, std::string_view where) {
  if (text == "auto") return std::nullopt;
  if (text == "vector" || text == "valu") return Route::vector;
  if (text == "matrix" || text == "mfma") return Route::matrix;
  fail_input("{}: unknown route \"{}\"; use auto, vector (valu) or matrix (mfma)", where, text);
}

RouteTable::Rule parse_route_rule(const std::string& text) {
  RouteTable::Rule rule;
  std::string rest = text;
  for (const Phase phase : {Phase::prefill, Phase::decode}) {
    const std::string prefix = std::string(name(phase)) + ":";
    if (rest.starts_with(prefix)) {
      rule.phase = phase;
      rest = rest.substr(prefix.size());
    }
  }
  const size_t equals = rest.find('=');
  if (equals == std::string::npos) {
    fail_input("--route {}: expected STAGES=ROUTE[/SHAPE], such as q,k,v=matrix/gemm", text);
  }
  rule.stages = parse_stages(rest.substr(0, equals), text);
  std::string route = rest.substr(equals + 1);
  if (const size_t slash = route.find('/'); slash != std::string::npos) {
    const std::string shape = route.substr(slash + 1);
    if (shape != "gemm" && shape != "gemv") {
      fail_input("--route {}: unknown shape \"{}\"; use gemm or gemv", text, shape);
    }
    rule.choice.shape = shape == "gemm" ? Shape::gemm : Shape::gemv;
    route.resize(slash);
  }
  rule.choice.route = parse_route(route, "--route " + text);
  return rule;
}

}  // namespace greta
