#include "engine/session.h"

#include <algorithm>

#include "base/error.h"

namespace greta {
namespace {

int64_t checked_positions(const ModelConfig& config, int64_t positions) {
  if (positions > config.n_ctx) {
    fail_input("{} tokens are more than the context of {}: {}; shorten the prompt or generate less",
               positions, config.name, config.n_ctx);
  }
  if (config.rope_original > 0 && positions > config.rope_original &&
      config.context <= config.rope_original) {
    fail_input(
        "{} tokens are more than the {} that the short factors of RoPE of {} are for; --context {} takes "
        "the long ones",
        positions, config.rope_original, config.name, positions);
  }
  return positions;
}

}  // namespace

Session::Session(Engine& engine, int64_t positions, SessionPlans plans)
    : engine_(engine),
      plans_(std::move(plans)),
      cache_(engine.cache(checked_positions(engine.model().config, positions))),
      executor_(engine.executor(engine.pool())) {}

void Session::check(std::span<const int32_t> tokens) const {
  const int64_t n_vocab = engine_.model().config.n_vocab;
  for (const int32_t token : tokens) {
    if (token < 0 || token >= n_vocab)
      fail_input("token id {} is outside the vocabulary of {}", token, n_vocab);
  }
}

std::span<const float> Session::forward(const Plan& plan, std::span<const int32_t> tokens) {
  check(tokens);
  return executor_->run(plan, tokens, cache_.length(), cache_);
}

std::span<const float> Session::prefill(std::span<const int32_t> tokens) {
  check(tokens);
  const size_t block = static_cast<size_t>(plans_.last.max_rows);
  const size_t last = tokens.empty() ? 0 : (tokens.size() - 1) % block + 1;
  fill(tokens.first(tokens.size() - last));
  return forward(plans_.last, tokens.last(last));
}

void Session::fill(std::span<const int32_t> tokens) {
  check(tokens);
  while (!tokens.empty()) {
    const size_t rows = std::min(tokens.size(), static_cast<size_t>(plans_.inner.max_rows));
    forward(plans_.inner, tokens.first(rows));
    tokens = tokens.subspan(rows);
  }
}

std::span<const float> Session::step(int32_t token, size_t plan) {
  return forward(plans_.steps.at(plan), std::span(&token, 1));
}

}  // namespace greta
