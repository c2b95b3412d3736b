// What only some models have, left out: biases, norms of heads and of branches, windows.

#include <cmath>

#include "fault/attention.h"
#include "fault/bank.h"

namespace greta {
namespace {

/// run_changed(); none where the op has no bias.
template <class Change>
Wrong with_bias(const TwinSite& site, Change change) {
  return site.call().bias == nullptr ? Wrong{} : run_changed(site, change);
}

Wrong no_bias(TwinSite& site) {
  return with_bias(site, [](KernelArgs& args) { args.bias = nullptr; });
}

Wrong bias_twice(TwinSite& site) {
  if (site.call().bias == nullptr) return {};
  return [bias = site.call().bias](const WrongCall& call) {
    const View& out = call.args.out;
    set_each(out, [&](int64_t r, int64_t i) { return out.row(r)[i] + bias[i]; });
  };
}

/// Scores, or their sum with the values, with another window: by the engine's own kernel.
template <int64_t (*changed)(int64_t window)>
Wrong other_window(TwinSite& site) {
  if (site.call().params.window == 0) return {};
  return [kernel = site.call().kernel, window = changed(site.call().params.window)](const WrongCall& call) {
    KernelArgs args = call.args;
    args.params.window = window;
    kernel->run(args, {0, 1});
  };
}

int64_t no_window(int64_t) { return 0; }
int64_t half_window(int64_t window) { return (window + 1) / 2; }

Fault windowed(const char* name, const char* what, MakeWrong make) {
  Fault fault{name, "window", Stage::qk, what, kGitHub + "vllm-project/vllm/issues/3385", "window", make};
  // What the scores let through must also be mixed.
  fault.also_stage = Stage::pv;
  fault.also = make;
  fault.needs = Needs::window;
  return fault;
}

/// Scores, or logits, by the engine's own kernel with another soft cap.
template <class Change>
Wrong with_cap(const TwinSite& site, Change change) {
  if (site.call().params.cap == 0) return {};
  return [kernel = site.call().kernel, change](const WrongCall& call) {
    KernelArgs args = call.args;
    change(args.params);
    kernel->run(args, {0, 1});
  };
}

Wrong no_cap(TwinSite& site) {
  return with_cap(site, [](OpParams& params) { params.cap = 0; });
}

/// The model's times 1 + size.
Wrong other_cap(TwinSite& site) {
  return with_cap(site, [size = site.size](OpParams& params) { params.cap *= static_cast<float>(1 + size); });
}

/// Of products: then the scale.
Wrong cap_before_scale(TwinSite& site) {
  return with_cap(site, [](OpParams& params) { params.cap *= params.scale; });
}

float capped_again(float x, float cap) { return cap * std::tanh(x / cap); }

/// What is capped is capped once more: with a mask in front of it, that becomes a number, too.
Wrong cap_again(TwinSite& site) {
  if (site.call().params.cap == 0) return {};
  return [](const WrongCall& call) {
    const View& out = call.args.out;
    set_each(out, [&](int64_t r, int64_t i) {
      const float x = out.row(r)[i];
      return std::isinf(x) ? x : capped_again(x, call.args.params.cap);
    });
  };
}

Wrong cap_after_mask(TwinSite& site) {
  if (site.call().params.cap == 0) return {};
  return [](const WrongCall& call) {
    const View& out = call.args.out;
    set_each(out, [&](int64_t r, int64_t i) {
      return std::isinf(out.row(r)[i]) ? -call.args.params.cap : out.row(r)[i];
    });
  };
}

FaultList cap_faults() {
  const std::string cap = kGitHub + "vllm-project/vllm/pull/52173";
  const auto of = [&](const char* name, const char* kind, Stage stage, const char* what, MakeWrong make,
                      double size = 0) {
    return needing(Needs::cap, Fault{name, kind, stage, what, cap, kind, std::move(make), size});
  };
  Fault masked = of("qk_cap_after_mask", "softcap_order", Stage::qk,
                    "the soft cap comes after the mask, which it makes a number", cap_after_mask);
  masked.also_stage = Stage::pv;  // what the scores let through must also be mixed
  masked.also = mix_all_weights;
  return {
      of("qk_cap_omitted", "softcap", Stage::qk, "scores without the model's soft cap", no_cap),
      of("qk_cap_other", "softcap", Stage::qk, "another cap (0.6 times the model's; by=-0.4)", other_cap,
         -0.4),
      of("qk_cap_before_scale", "softcap_order", Stage::qk, "the soft cap comes before the scale",
         cap_before_scale),
      std::move(masked),
      of("qk_cap_twice", "softcap_order", Stage::qk, "the soft cap is applied twice", cap_again),
      of("logits_cap_omitted", "softcap", Stage::logits, "logits without the model's soft cap", no_cap),
      of("logits_cap_other", "softcap", Stage::logits, "another cap (0.6 times the model's; by=-0.4)",
         other_cap, -0.4),
      of("logits_cap_twice", "softcap_order", Stage::logits, "the soft cap is applied twice", cap_again),
  };
}

}  // namespace

FaultList architecture_faults() {
  const std::string lost = kGitHub + "paiml/aprender/issues/2769",
                    skipped = kGitHub + "osaurus-ai/vmlx-swift/pull/381";
  const auto bias = [&](const char* name, Stage stage, const char* what, MakeWrong make) {
    return needing(Needs::bias, Fault{name, "wrong_bias", stage, what, lost, "wrong_bias", std::move(make)});
  };
  const auto norm = [&](const char* name, Stage stage, const char* what) {
    return Fault{name, "norm_omitted", stage, what, skipped, "norm_omitted", pass_through};
  };
  FaultList faults{
      bias("q_bias_omitted", Stage::q, "its bias is not added", no_bias),
      bias("k_bias_omitted", Stage::k, "its bias is not added", no_bias),
      bias("v_bias_twice", Stage::v, "its bias is added twice", bias_twice),
      norm("q_norm_omitted", Stage::q_norm, "q as it is"),
      norm("k_norm_omitted", Stage::k_norm, "k as it is"),
      norm("v_norm_omitted", Stage::v_norm, "v as it is (of MLA: the latent)"),
      norm("q_a_norm_omitted", Stage::q_a_norm, "q_a as it is"),
      norm("attn_post_norm_omitted", Stage::attn_post_norm, "the attention's output as it is"),
      norm("ffn_post_norm_omitted", Stage::ffn_post_norm, "the FFN's output as it is"),
      windowed("window_ignored", "positions before the model's window are seen", other_window<no_window>),
      windowed("window_halved", "half the model's window is seen", other_window<half_window>),
  };
  for (Fault& fault : cap_faults()) faults.push_back(std::move(fault));
  return faults;
}

}  // namespace greta
