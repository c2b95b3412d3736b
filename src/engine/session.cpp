#include "engine/session.h"

#include "base/error.h"
#include "engine/plan_edit.h"

namespace greta {
namespace {

int64_t checked_positions(const ModelConfig& config, int64_t positions) {
  if (positions > config.n_ctx) {
    fail_input("{} tokens are more than the context of {}: {}; shorten the prompt or generate less",
               positions, config.name, config.n_ctx);
  }
  return positions;
}

}  // namespace

Engine::Engine(Model model, const EngineOptions& options)
    : options_(options), model_(std::move(model)), pool_(options.threads), weights_(model_, pool_) {}

Plan Engine::plan(Phase phase, int64_t max_rows, const RouteTable& routes, bool logits) const {
  return make_plan(model_, weights_,
                   {.phase = phase,
                    .max_rows = max_rows,
                    .logits = logits,
                    .isa = options_.isa,
                    .routes = routes,
                    .device = options_.device,
                    .sim_input = options_.sim_input,
                    .invariant = options_.invariant});
}

Plan Engine::fast_plan(Phase phase, int64_t max_rows, const RouteTable& routes, bool logits) const {
  Plan fast = plan(phase, max_rows, routes, logits);
  PlanEdit(fast).fuse_quantize(options_.isa);
  return fast;
}

Session::Session(Engine& engine, int64_t positions)
    : engine_(engine),
      cache_(engine.model().config, checked_positions(engine.model().config, positions),
             engine.options().kv_format),
      executor_(engine.pool()) {}

void Session::check(std::span<const int32_t> tokens) const {
  const int64_t n_vocab = engine_.model().config.n_vocab;
  for (const int32_t token : tokens) {
    if (token < 0 || token >= n_vocab)
      fail_input("token id {} is outside the vocabulary of {}", token, n_vocab);
  }
}

std::span<const float> Session::forward(const Plan& plan, std::span<const int32_t> tokens) {
  check(tokens);
  return executor_.run(plan, tokens, cache_.length(), cache_);
}

std::span<const float> Session::prefill(const Plan& inner, const Plan& last,
                                        std::span<const int32_t> tokens) {
  check(tokens);
  const size_t block = static_cast<size_t>(last.max_rows);
  while (tokens.size() > block) {
    forward(inner, tokens.first(block));
    tokens = tokens.subspan(block);
  }
  return forward(last, tokens);
}

}  // namespace greta
