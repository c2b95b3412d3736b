// What gpt-oss alone has, gone wrong: sinks, the clamped activation, biases of experts.

#include <algorithm>
#include <cmath>
#include <vector>

#include "fault/bank.h"

namespace greta {
namespace {

/// By the engine's own kernel with `change` made to the heads' sinks; none where the softmax has none.
template <class Change>
Wrong with_sinks(const TwinSite& site, Change change) {
  const float* own = site.call().bias;
  if (own == nullptr) return {};
  std::vector<float> sinks(own, own + site.config().n_head);
  change(sinks);
  return [kernel = site.call().kernel, sinks = std::move(sinks)](const WrongCall& call) {
    KernelArgs args = call.args;
    args.bias = sinks.empty() ? nullptr : sinks.data();
    kernel->run(args, {0, 1});
  };
}

Wrong no_sink(TwinSite& site) {
  return with_sinks(site, [](std::vector<float>& sinks) { sinks.clear(); });
}

Wrong next_sink(TwinSite& site) {
  return with_sinks(
      site, [](std::vector<float>& sinks) { std::rotate(sinks.begin(), sinks.begin() + 1, sinks.end()); });
}

Wrong first_sink(TwinSite& site) {
  return with_sinks(site,
                    [](std::vector<float>& sinks) { std::fill(sinks.begin(), sinks.end(), sinks.front()); });
}

Wrong scaled_sink(TwinSite& site) {
  const auto scale = static_cast<float>(site.config().attention_scale);
  return with_sinks(site, [scale](std::vector<float>& sinks) {
    for (float& sink : sinks) sink *= scale;
  });
}

/// The activation with its numbers: limits of gate and up from above, from below, alpha, what is added to up.
struct Swiglu {
  double gate_above = 7, gate_below = -INFINITY, up_limit = 7, alpha = 1.702, added = 1;
};

template <Swiglu (*made)()>
Wrong other_swiglu(TwinSite& site) {
  if (site.call().kernel->op != OpKind::swiglu_oai_mul) return {};
  return [how = made()](const WrongCall& call) {
    set_each(call.args.out, [&](int64_t r, int64_t i) {
      const double gate =
          std::clamp(static_cast<double>(call.args.in[0].row(r)[i]), how.gate_below, how.gate_above);
      const double up =
          std::clamp(static_cast<double>(call.args.in[1].row(r)[i]), -how.up_limit, how.up_limit);
      return gate / (1 + std::exp(-how.alpha * gate)) * (up + how.added);
    });
  };
}

Swiglu unclamped() { return {.gate_above = INFINITY, .up_limit = INFINITY}; }
Swiglu gate_clamped_below() { return {.gate_below = -7}; }
Swiglu up_unclamped() { return {.up_limit = INFINITY}; }
Swiglu plain_silu() { return {.alpha = 1}; }
Swiglu nothing_added() { return {.added = 0}; }

/// By the op's kernel with each expert's bias from that of another, or none; nothing where it has no biases.
template <class Other>
Wrong with_biases(const TwinSite& site, Other other) {
  const float* own = site.call().bias;
  if (own == nullptr) return {};
  const int64_t experts = site.call().params.experts, width = round_up(site.call().weight->n, kPanelRows);
  std::vector<float> biases;
  for (int64_t expert = 0; expert < experts; ++expert) {
    const float* from = own + other(expert, experts) * width;
    biases.insert(biases.end(), from, from + width);
  }
  return [kernel = site.call().kernel, biases = std::move(biases)](const WrongCall& call) {
    KernelArgs args = call.args;
    args.bias = biases.data();
    kernel->run(args, {0, 1});
  };
}

Wrong next_bias(TwinSite& site) {
  return with_biases(site, [](int64_t expert, int64_t experts) { return (expert + 1) % experts; });
}

Wrong first_bias(TwinSite& site) {
  return with_biases(site, [](int64_t, int64_t) { return int64_t{0}; });
}

Wrong without_bias(TwinSite& site) {
  if (site.call().bias == nullptr) return {};
  return [kernel = site.call().kernel](const WrongCall& call) {
    KernelArgs args = call.args;
    args.bias = nullptr;
    kernel->run(args, {0, 1});
  };
}

}  // namespace

FaultList gpt_oss_faults() {
  const std::string sinks = kGitHub + "vllm-project/vllm-metal/pull/550",
                    swiglu = kGitHub + "sgl-project/sglang/pull/39939",
                    biases = kGitHub + "NVIDIA-NeMo/Automodel/pull/2591";
  const auto sink = [&](const char* name, const char* what, MakeWrong make) {
    return needing(Needs::sinks, Fault{name, "attention_sink", Stage::softmax, what, sinks, "attention_sink",
                                       std::move(make)});
  };
  const auto activation = [&](const char* name, const char* what, MakeWrong make) {
    return needing(Needs::swiglu_oai,
                   Fault{name, "swiglu_oai", Stage::expert_act, what, swiglu, "swiglu_oai", std::move(make)});
  };
  const auto bias = [&](const char* name, const char* kind, Stage stage, const char* what, MakeWrong make) {
    return needing(Needs::bias, Fault{name, kind, stage, what, biases, kind, std::move(make)});
  };
  using enum Stage;
  return {
      sink("sink_omitted", "the softmax's sum is without the head's sink", no_sink),
      sink("sink_next_head", "each head has the next one's sink", next_sink),
      sink("sink_first_head", "all heads have the first one's sink", first_sink),
      sink("sink_scaled", "the sinks are scaled as the scores are", scaled_sink),
      activation("swiglu_unclamped", "gate and up are not clamped", other_swiglu<unclamped>),
      activation("swiglu_up_unclamped", "up is not clamped", other_swiglu<up_unclamped>),
      activation("swiglu_gate_clamped_below", "gate is clamped from below, too",
                 other_swiglu<gate_clamped_below>),
      activation("swiglu_alpha_one", "SiLU: alpha is 1, not 1.702", other_swiglu<plain_silu>),
      activation("swiglu_up_without_one", "nothing is added to up", other_swiglu<nothing_added>),
      bias("expert_gate_bias_omitted", "expert_bias", expert_gate, "its biases are not added", without_bias),
      bias("expert_up_bias_next", "expert_bias", expert_up, "the next expert's bias", next_bias),
      bias("expert_down_bias_first", "expert_bias", expert_down, "the first expert's bias for all",
           first_bias),
      bias("expert_down_bias_omitted", "expert_bias", expert_down, "its biases are not added", without_bias),
      bias("router_bias_omitted", "wrong_bias", router, "its bias is not added", without_bias),
      bias("attn_out_bias_omitted", "wrong_bias", attn_out, "its bias is not added", without_bias),
  };
}

}  // namespace greta
