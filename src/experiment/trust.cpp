#include "experiment/trust.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "engine/perplexity.h"

namespace greta {
namespace {

/// One value in the place of another, as an edit of the plan.
struct Other {
  Text what;
  std::string used, instead;
  std::function<void(PlanEdit& edit)> edit;
};

/// Changes the parameters of all kernels of one kind.
std::function<void(PlanEdit&)> with(OpKind kind, std::function<void(const Op& op, KernelCall& call)> change) {
  return [kind, change = std::move(change)](PlanEdit& edit) {
    edit.unfuse_all();
    for (Op& op : edit.ops()) {
      if (is_kind(op, kind)) change(op, *kernel_call(op));
    }
  };
}

std::vector<Other> other_norms(const ModelConfig& config) {
  std::vector<Other> others;
  for (const double factor : {10.0, 0.1}) {
    const double eps = config.norm_eps * factor;
    others.push_back({{"eps", "eps"},
                      fmt::format("{:.3g}", config.norm_eps),
                      fmt::format("{:.3g}", eps),
                      with(OpKind::rms_norm, [eps](const Op&, KernelCall& call) {
                        call.params.eps = static_cast<float>(eps);
                      })});
  }
  return others;
}

std::vector<Other> other_rope(const Model& model) {
  const ModelConfig& config = model.config;
  const auto pairs = [](bool adjacent) { return std::string(adjacent ? "neighbours" : "halves"); };
  const auto turned = [](const Op&, KernelCall& call) {
    call.params.rope_adjacent = !call.params.rope_adjacent;
  };
  const auto both = [table = with(OpKind::rope_table, turned),
                     rope = with(OpKind::rope, turned)](PlanEdit& edit) {
    table(edit);
    rope(edit);
  };
  std::vector<Other> others;
  others.push_back({{"RoPE's pairs", "los pares de RoPE"},
                    pairs(config.rope_adjacent),
                    pairs(!config.rope_adjacent),
                    both});
  for (const double base : {1e4, 1e5, 1e6}) {
    if (base == config.rope_base) continue;
    const auto is_local = [&config](int layer) { return config.layer(layer).rope_base != config.rope_base; };
    const auto turns =
        std::make_shared<std::vector<float>>(make_rope_turns(model, {.rope_base = base, .rope_scale = 1}));
    others.push_back({{"RoPE's base", "la base de RoPE"},
                      fmt::format("{:.0f}", config.rope_base),
                      fmt::format("{:.0f}", base),
                      with(OpKind::rope_table, [turns, is_local](const Op& op, KernelCall& call) {
                        if (!is_local(op.layer)) call.params.rope_turns = turns->data();
                      })});
  }
  return others;
}

std::vector<Other> other_scales(const ModelConfig& config) {
  const double width = std::sqrt(static_cast<double>(config.n_embd));
  const double embedding = config.embedding_scale == 1 ? width : 1;
  const auto scaled = [](double scale) {
    return [scale](const Op&, KernelCall& call) { call.params.scale = static_cast<float>(scale); };
  };
  std::vector<Other> others{{{"the scale of scores", "la escala de las puntuaciones"},
                             fmt::format("{:.6g}", config.attention_scale),
                             "1",
                             with(OpKind::qk, scaled(1))},
                            {{"the scale of the embedding", "la escala del embedding"},
                             fmt::format("{:.6g}", config.embedding_scale),
                             fmt::format("{:.6g}", embedding),
                             with(OpKind::embed, scaled(embedding))}};
  if (config.score_cap > 0) {
    others.push_back({{"the soft cap of scores", "el límite suave de las puntuaciones"},
                      fmt::format("{:.6g}", config.score_cap),
                      "0",
                      with(OpKind::qk, [](const Op&, KernelCall& call) { call.params.cap = 0; })});
  }
  return others;
}

/// Windows that the tokens reach past.
std::vector<Other> no_window(const ModelConfig& config, int64_t tokens) {
  int64_t least = 0;
  for (const LayerConfig& layer : config.layers) {
    if (layer.window > 0 && (least == 0 || layer.window < least)) least = layer.window;
  }
  if (least == 0 || least >= tokens) return {};
  const auto change = [](const Op&, KernelCall& call) { call.params.window = 0; };
  const auto scores = with(OpKind::qk, change), mix = with(OpKind::pv, change);
  return {{{"the window", "la ventana"}, std::to_string(least), "0", [=](PlanEdit& edit) {
             scores(edit);
             mix(edit);
           }}};
}

class Scorer {
 public:
  Scorer(const Program& program, std::span<const int32_t> tokens) : program_(program), tokens_(tokens) {}

  /// Of each token but the first.
  std::vector<double> losses(const std::function<void(PlanEdit&)>& change = {}) const {
    std::vector<int32_t> next(tokens_.begin() + 1, tokens_.end());
    next.push_back(tokens_.front());
    std::vector<double> losses(tokens_.size());
    const Making making{.fast = false, .edit = [&](PlanEdit& edit) {
                          if (change) change(edit);
                          score_rows(edit, next, losses);
                        }};
    const Plan plan = program_.plan(Phase::prefill, std::ssize(tokens_), true, making);
    Engine& engine = program_.engine();
    Runner(engine, engine.pool(), std::ssize(tokens_)).forward(plan, tokens_);
    losses.pop_back();
    return losses;
  }

 private:
  const Program& program_;
  std::span<const int32_t> tokens_;
};

double mean(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// How much more the other costs, a token, and the standard error of it.
std::pair<double, double> cost(std::span<const double> used, std::span<const double> other) {
  std::vector<double> more(used.size());
  std::transform(other.begin(), other.end(), used.begin(), more.begin(), std::minus<>());
  const double by = mean(more);
  double squares = 0;
  for (const double value : more) squares += (value - by) * (value - by);
  const double count = static_cast<double>(more.size());
  return {by, std::sqrt(squares / (count - 1) / count)};
}

}  // namespace

Trust weigh_trust(const Program& program, std::span<const int32_t> tokens,
                  const std::function<void(const std::string& label)>& step) {
  tokens = tokens.first(std::min(tokens.size(), kMostScored));
  if (tokens.size() < kFewestScored) return {};
  const Model& model = program.engine().model();
  std::vector<Other> others = other_norms(model.config);
  for (std::vector<Other> more :
       {other_rope(model), other_scales(model.config), no_window(model.config, std::ssize(tokens))})
    std::move(more.begin(), more.end(), std::back_inserter(others));
  const Scorer scorer(program, tokens);
  const std::vector<double> used = scorer.losses();
  Trust trust{.tokens = std::ssize(used),
              .loss = mean(used),
              .chance = std::log(static_cast<double>(model.config.n_vocab)),
              .others = {}};
  for (const Other& other : others) {
    step("loss with " + other.what.en + " " + other.instead);
    const auto [more, error] = cost(used, scorer.losses(other.edit));
    trust.others.push_back({other.what, other.used, other.instead, more, error});
  }
  return trust;
}

}  // namespace greta
