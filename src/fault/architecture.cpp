// What only some models have, left out: biases, norms of heads and of branches, windows.

#include <cmath>

#include "fault/attention.h"
#include "fault/bank.h"

namespace greta {
namespace {

/// By the engine's own kernel, with `change` made to its arguments; none where the op has no bias.
template <class Change>
Wrong with_bias(const TwinSite& site, Change change) {
  if (site.call().bias == nullptr) return {};
  return [kernel = site.call().kernel, change](const WrongCall& call) {
    KernelArgs args = call.args;
    change(args);
    kernel->run(args, {0, 1});
  };
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
  return {
      bias("q_bias_omitted", Stage::q, "its bias is not added", no_bias),
      bias("k_bias_omitted", Stage::k, "its bias is not added", no_bias),
      bias("v_bias_twice", Stage::v, "its bias is added twice", bias_twice),
      norm("q_norm_omitted", Stage::q_norm, "q as it is"),
      norm("k_norm_omitted", Stage::k_norm, "k as it is"),
      norm("attn_post_norm_omitted", Stage::attn_post_norm, "the attention's output as it is"),
      norm("ffn_post_norm_omitted", Stage::ffn_post_norm, "the FFN's output as it is"),
      windowed("window_ignored", "positions before the model's window are seen", other_window<no_window>),
      windowed("window_halved", "half the model's window is seen", other_window<half_window>),
  };
}

}  // namespace greta
