// Latent attention (MLA) that goes wrong, and the choice of experts that DeepSeek has beside it.

#include <cmath>

#include "fault/bank.h"

namespace greta {
namespace {

PackedWeight same(const PackedWeight& weight) {
  return {weight.type,        weight.n, weight.k,
          weight.panel_bytes, {},       weight.bytes.slice(0, weight.bytes.size())};
}

/// Each head by the matrix of another.
Wrong matrix_of(const TwinSite& site, int64_t (*other)(int64_t head, int64_t heads)) {
  return [kernel = site.call().kernel, other](const WrongCall& call) {
    KernelArgs args = call.args;
    std::vector<PackedWeight> turned;
    for (int64_t head = 0; head < args.params.experts; ++head)
      turned.push_back(same(call.args.weight[other(head, args.params.experts)]));
    args.weight = turned.data();
    kernel->run(args, {0, 1});
  };
}

Wrong matrix_of_next(TwinSite& site) {
  return matrix_of(site, [](int64_t head, int64_t heads) { return (head + 1) % heads; });
}
Wrong matrix_of_first(TwinSite& site) {
  return matrix_of(site, [](int64_t, int64_t) { return int64_t{0}; });
}

/// A head's last part comes first.
Wrong last_first(TwinSite&) {
  return [](const WrongCall& call) {
    const View& out = call.args.out;
    const int64_t heads = call.args.params.n_head, width = out.cols / heads, end = call.args.params.rope_dims;
    for (int64_t r = 0; r < out.rows; ++r) {
      for (int64_t h = 0; h < heads; ++h) {
        float* head = out.row(r) + h * width;
        const std::vector<float> right(head, head + width);
        for (int64_t i = 0; i < width; ++i) head[(i + end) % width] = right[static_cast<size_t>(i)];
      }
    }
  };
}

/// A head's last part is zero.
Wrong without_last(TwinSite&) {
  return [](const WrongCall& call) {
    const int64_t width = call.args.out.cols / call.args.params.n_head, end = call.args.params.rope_dims;
    set_each(call.args.out,
             [&](int64_t r, int64_t i) { return i % width < width - end ? call.args.out.row(r)[i] : 0; });
  };
}

/// All heads end as the first one does.
Wrong end_of_first_head(TwinSite&) {
  return [](const WrongCall& call) {
    const int64_t width = call.args.out.cols / call.args.params.n_head, end = call.args.params.rope_dims;
    set_each(call.args.out, [&](int64_t r, int64_t i) {
      return call.args.out.row(r)[i % width < width - end ? i : i % width];
    });
  };
}

/// Scores by another scale: times what `factor` makes of the model.
using ScaleFactor = double (*)(const ModelConfig& config);

template <ScaleFactor factor>
Wrong other_scale(TwinSite& site) {
  const double by = factor(site.config());
  if (std::abs(by - 1) < 1e-6) return {};
  return [by](const WrongCall& call) {
    set_each(call.args.out,
             [&](int64_t r, int64_t i) { return static_cast<double>(call.args.out.row(r)[i]) * by; });
  };
}

/// The model's scale times sqrt(dims of a head of q) is YaRN's mscale squared.
double without_mscale(const ModelConfig& config) {
  return 1 / (config.attention_scale * std::sqrt(static_cast<double>(config.query_dim())));
}
double by_cached_width(const ModelConfig& config) {
  return std::sqrt(static_cast<double>(config.query_dim()) / static_cast<double>(config.head_dim));
}
double by_unrotated_width(const ModelConfig& config) {
  return std::sqrt(static_cast<double>(config.query_dim()) / static_cast<double>(config.latent.nope));
}

Wrong choice_without_bias(TwinSite& site) {
  return run_changed(site, [](KernelArgs& args) { args.bias = nullptr; });
}

Wrong all_groups(TwinSite& site) {
  return run_changed(site, [](KernelArgs& args) { args.params.groups = 1; });
}

Wrong groups_by_best(TwinSite& site) {
  if (site.call().params.group_best == 1) return {};
  return run_changed(site, [](KernelArgs& args) { args.params.group_best = 1; });
}

Wrong weights_unscaled(TwinSite& site) {
  if (site.call().params.scale == 1) return {};
  return run_changed(site, [](KernelArgs& args) { args.params.scale = 1; });
}

/// The correction of the choice is in the weights, too.
Wrong biased_weights(TwinSite& site) {
  const Tensor* bias = bias_of(site.engine.model(), {Stage::experts, site.op.layer});
  if (bias == nullptr) return {};
  return [kernel = site.call().kernel, biases = site.engine.weights().vector(bias)](const WrongCall& call) {
    const View& scores = call.args.in[0];
    const Rows other = make_rows(scores.rows, scores.cols);
    set_each(other.view, [&](int64_t r, int64_t i) {
      return static_cast<double>(scores.row(r)[i]) + static_cast<double>(biases[i]);
    });
    KernelArgs args = call.args;
    args.in[0] = other.view;
    kernel->run(args, {0, 1});
  };
}

Wrong softmax_for_sigmoid(TwinSite&) {
  return [](const WrongCall& call) {
    const View& scores = call.args.in[0];
    for (int64_t r = 0; r < scores.rows; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < scores.cols; ++i) sum += std::exp(static_cast<double>(scores.row(r)[i]));
      for (int64_t i = 0; i < scores.cols; ++i)
        call.args.out.row(r)[i] = static_cast<float>(std::exp(static_cast<double>(scores.row(r)[i])) / sum);
    }
  };
}

}  // namespace

FaultList latent_faults() {
  const std::string absorbed = kGitHub + "vllm-project/vllm/pull/52512",
                    order = kGitHub + "ROCm/aiter/issues/1455", madeup = kMadeUp;
  const auto of = [&](Needs needs, const char* name, const char* kind, Stage stage, const char* what,
                      const std::string& source, MakeWrong make) {
    return needing(needs, Fault{name, kind, stage, what, source, kind, std::move(make)});
  };
  using enum Stage;
  using enum Needs;
  return {
      of(latent, "k_b_next_head", "head_matrix", q_absorbed, "the next head's matrix", absorbed,
         matrix_of_next),
      of(latent, "k_b_first_head", "head_matrix", q_absorbed, "the first head's matrix for all", absorbed,
         matrix_of_first),
      of(latent, "v_b_next_head", "head_matrix", head_out, "the next head's matrix", absorbed,
         matrix_of_next),
      of(latent, "v_b_first_head", "head_matrix", head_out, "the first head's matrix for all", absorbed,
         matrix_of_first),
      of(latent, "q_latent_rope_first", "latent_order", q_latent, "the rotated part before the other", order,
         last_first),
      of(latent, "k_latent_rope_first", "latent_order", k_latent, "the rotated part before the latent", order,
         last_first),
      of(latent, "k_latent_without_rope", "output_zero", k_latent, "the rotated part is zero", madeup,
         without_last),
      of(latent, "q_latent_first_head", "latent_order", q_latent,
         "all heads have the rotated part of the first", madeup, end_of_first_head),
      of(latent, "qk_without_mscale", "softmax_scale", qk, "without YaRN's factor of the scale", madeup,
         other_scale<without_mscale>),
      of(latent, "qk_scale_cached_width", "softmax_scale", qk, "1/sqrt of the cached key's width", madeup,
         other_scale<by_cached_width>),
      of(latent, "qk_scale_unrotated_width", "softmax_scale", qk, "1/sqrt of the width that does not turn",
         madeup, other_scale<by_unrotated_width>),
      of(choice_bias, "experts_unbiased", "expert_choice", experts, "chosen without their biases", madeup,
         choice_without_bias),
      of(groups, "experts_all_groups", "expert_choice", experts, "chosen from all groups", madeup,
         all_groups),
      of(groups, "experts_groups_by_best", "expert_choice", experts, "groups by their best expert alone",
         madeup, groups_by_best),
      of(sigmoid, "expert_probs_softmax", "expert_probabilities", expert_probs, "a softmax, no sigmoid",
         madeup, softmax_for_sigmoid),
      of(choice_bias, "expert_weights_biased", "expert_correction", expert_weights,
         "of probabilities with the choice's biases", madeup, biased_weights),
      of(latent, "expert_weights_unscaled", "expert_correction", expert_weights, "without the model's factor",
         madeup, weights_unscaled),
  };
}

}  // namespace greta
