#include "engine/engine.h"

#include <fmt/format.h>

#include "engine/plan_edit.h"

namespace greta {

Engine::Engine(Model model, const EngineOptions& options)
    : options_(options), model_(std::move(model)), pool_(options.threads), weights_(model_, pool_) {
  if (auto device = open_device(options_.device, pool_))
    store_ = std::make_unique<DeviceStore>(std::move(device));
}

std::string Engine::kernels() const {
  const std::string family = find_device(options_.device).kernels;
  return store_ ? fmt::format("{}:{}", family, store_->device().unit()) : family;
}

KvCache Engine::cache(int64_t positions, std::optional<Format> format) const {
  return {model_.config, positions, format.value_or(options_.kv_format),
          store_ ? &store_->device() : nullptr};
}

Plan Engine::plan(Phase phase, int64_t max_rows, const RouteTable& routes, bool logits) const {
  return make_plan(model_, weights_,
                   {.phase = phase,
                    .max_rows = max_rows,
                    .logits = logits,
                    .isa = options_.isa,
                    .routes = routes,
                    .device = kernels(),
                    .sim_input = options_.sim_input,
                    .invariant = options_.invariant});
}

Plan Engine::fast_plan(Phase phase, int64_t max_rows, const RouteTable& routes, bool logits) const {
  Plan fast = plan(phase, max_rows, routes, logits);
  PlanEdit(fast).fuse_quantize();
  return fast;
}

}  // namespace greta
