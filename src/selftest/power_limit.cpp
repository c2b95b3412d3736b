#include "selftest/power_limit.h"

#include <fmt/format.h>

#include <cmath>
#include <set>

#include "judge/judge.h"
#include "record/matrix.h"
#include "selftest/power.h"

namespace greta {
namespace {

constexpr double kLargest = 1e6, kSmallest = 1e-9, kResolution = 1.1;

bool is_flagged(Engine& engine, const std::vector<Prompt>& prompts, const DetectionLimit& limit,
                double size) {
  const std::string text =
      fmt::format("{}@{}:{},by={:.6g}", limit.fault, name(limit.phase), limit.layer, size);
  const FaultSpec spec = parse_fault(text, engine.model().config.n_layer);
  MatrixRequest request{.experiments = parse_experiments("E0"),
                        .prompts = prompts,
                        .layers = {limit.layer},
                        .routes = {},
                        .change = fault_change(engine, {spec})};
  request.routes.add(parse_route_rule("all=" + limit.route));
  const Verdict verdict = judge(record_matrix(engine, request), engine.model(),
                                {.threads = engine.options().threads, .causes = Causes::none});
  const Detection detection = held_against(spec, verdict);
  return detection.right_place && detection.right_phase;
}

}  // namespace

std::vector<DetectionLimit> planned_limits(int n_layer, const std::string& only) {
  const std::set<int> layers{0, n_layer / 2, n_layer - 1};
  std::vector<DetectionLimit> limits;
  for (const char* fault :
       {"attn_norm_eps", "ffn_norm_eps", "softmax_scale", "q_rope_base", "wv_element", "kv_element"}) {
    if (std::string(fault).find(only) == std::string::npos) continue;
    for (const Phase phase : {Phase::prefill, Phase::decode}) {
      for (const int layer : layers) {
        for (const char* route : {"matrix", "vector"}) limits.push_back({fault, phase, layer, route, {}});
      }
    }
  }
  return limits;
}

void find_limit(Engine& engine, const std::vector<Prompt>& prompts, DetectionLimit& limit) {
  double flagged = 1;
  while (!is_flagged(engine, prompts, limit, flagged)) {
    flagged *= 10;
    if (flagged > kLargest) return;
  }
  double unseen = flagged / 10;
  while (unseen > kSmallest && is_flagged(engine, prompts, limit, unseen)) {
    flagged = unseen;
    unseen /= 10;
  }
  while (flagged / unseen > kResolution) {
    const double middle = std::sqrt(flagged * unseen);
    (is_flagged(engine, prompts, limit, middle) ? flagged : unseen) = middle;
  }
  limit.size = flagged;
}

}  // namespace greta
