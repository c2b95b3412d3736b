// A mixture of experts that goes wrong: the choice, its weights, the matrices, the sum, the shared expert.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "base/half.h"
#include "fault/bank.h"

namespace greta {
namespace {

/// The experts of a row in the order of `before`, which compares two scores.
template <class Before>
std::vector<int64_t> ranked(const View& scores, int64_t row, Before before) {
  std::vector<int64_t> order(static_cast<size_t>(scores.cols));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return before(scores.row(row)[a], scores.row(row)[b]); });
  return order;
}

bool is_higher(float a, float b) { return a > b; }
bool is_lower(float a, float b) { return a < b; }
bool is_larger(float a, float b) { return std::abs(a) > std::abs(b); }

/// Places first, first + 1, ... of the order.
template <bool (*before)(float, float), int64_t first>
Wrong choose_by(TwinSite&) {
  return [](const WrongCall& call) {
    const View &scores = call.args.in[0], &out = call.args.out;
    for (int64_t r = 0; r < out.rows; ++r) {
      const std::vector<int64_t> order = ranked(scores, r, before);
      for (int64_t i = 0; i < out.cols; ++i)
        out.row(r)[i] = static_cast<float>(order[static_cast<size_t>((first + i) % scores.cols)]);
    }
  };
}

Wrong number_from_one(TwinSite&) {
  return [](const WrongCall& call) {
    const View& out = call.args.out;
    const int64_t experts = call.args.in[0].cols;
    set_each(out, [&](int64_t r, int64_t i) { return (static_cast<int64_t>(out.row(r)[i]) + 1) % experts; });
  };
}

/// The op's kernel with an input changed: each value of a row from the row.
template <class Change>
Wrong with_input(const TwinSite& site, size_t input, Change change) {
  return [kernel = site.call().kernel, input, change](const WrongCall& call) {
    const View& right = call.args.in[input];
    const Rows other = make_rows(right.rows, right.cols);
    for (int64_t r = 0; r < right.rows; ++r) {
      for (int64_t i = 0; i < right.cols; ++i) other.view.row(r)[i] = change(right.row(r), i, right.cols);
    }
    KernelArgs args = call.args;
    args.in[input] = other.view;
    kernel->run(args, {0, 1});
  };
}

Wrong in_reverse(TwinSite& site) {
  return with_input(site, 1, [](const float* row, int64_t i, int64_t n) { return row[n - 1 - i]; });
}

Wrong first_for_all(TwinSite& site) {
  return with_input(site, 1, [](const float* row, int64_t, int64_t) { return row[0]; });
}

Wrong next_expert(TwinSite& site) {
  const int64_t experts = site.config().n_expert;
  return with_input(site, 1, [experts](const float* row, int64_t i, int64_t) {
    return static_cast<float>((static_cast<int64_t>(row[i]) + 1) % experts);
  });
}

Wrong place_for_number(TwinSite& site) {
  return with_input(site, 1, [](const float*, int64_t i, int64_t) { return static_cast<float>(i); });
}

/// The first input.
Wrong rounded_to_bf16(TwinSite& site) {
  if (site.call().kernel->roundings.activation != Format::f32)
    fail_input("{} is no f32 product in this model: its input is rounded already", name(site.at().stage));
  return with_input(site, 0,
                    [](const float* row, int64_t i, int64_t) { return bf16_to_f32(f32_to_bf16(row[i])); });
}

Wrong unweighted(TwinSite& site) {
  return with_input(site, 1, [](const float*, int64_t, int64_t) { return 1.0f; });
}

Wrong weighted_twice(TwinSite& site) {
  return with_input(site, 1, [](const float* row, int64_t i, int64_t) { return row[i] * row[i]; });
}

Wrong last_left_out(TwinSite& site) {
  return with_input(site, 1, [](const float* row, int64_t i, int64_t n) { return i + 1 < n ? row[i] : 0; });
}

Wrong first_alone(TwinSite& site) {
  return with_input(site, 1, [](const float* row, int64_t i, int64_t) { return i == 0 ? row[i] : 0; });
}

Wrong other_normalisation(TwinSite& site) {
  return [kernel = site.call().kernel](const WrongCall& call) {
    KernelArgs args = call.args;
    args.params.sum_to_1 = !args.params.sum_to_1;
    kernel->run(args, {0, 1});
  };
}

Wrong weights_reversed(TwinSite&) {
  return [](const WrongCall& call) {
    const View& out = call.args.out;
    for (int64_t r = 0; r < out.rows; ++r) std::reverse(out.row(r), out.row(r) + out.cols);
  };
}

Wrong sigmoid_weights(TwinSite& site) {
  if (site.call().params.are_probabilities) return {};
  return [](const WrongCall& call) {
    const View &scores = call.args.in[0], &numbers = call.args.in[1];
    set_each(call.args.out, [&](int64_t r, int64_t i) {
      const auto expert = static_cast<int64_t>(numbers.row(r)[i]);
      return 1 / (1 + std::exp(-static_cast<double>(scores.row(r)[expert])));
    });
  };
}

/// The matrices of another stage, or of the layer before (of the first: the second).
Wrong matrices_of(const TwinSite& site, At other) {
  const Tensor* tensor = weight_of(site.engine.model(), {other.stage, other.layer});
  if (tensor == nullptr) return {};
  const PackedWeight& weight = site.engine.weights().matrix(tensor);
  const PackedWeight& own = *site.call().weight;
  if (weight.type != own.type || weight.n != own.n || weight.k != own.k)
    fail_input("{} has another type or shape than {}: this model can't have the fault", tensor->name,
               site.call().weight_name);
  return [kernel = site.call().kernel, &weight](const WrongCall& call) {
    KernelArgs args = call.args;
    args.weight = &weight;
    kernel->run(args, {0, 1});
  };
}

Wrong matrices_of_up(TwinSite& site) { return matrices_of(site, {site.op.layer, Stage::expert_up}); }
Wrong matrices_of_neighbour(TwinSite& site) {
  if (site.config().n_layer < 2) fail_input("a model of one layer has no other layer's experts");
  return matrices_of(site, {site.op.layer == 0 ? 1 : site.op.layer - 1, site.at().stage});
}

/// shared times the first input, chosen times the second.
template <int shared, int chosen>
Wrong added(TwinSite&) {
  return [](const WrongCall& call) {
    set_each(call.args.out, [&](int64_t r, int64_t i) {
      return shared * call.args.in[0].row(r)[i] + chosen * call.args.in[1].row(r)[i];
    });
  };
}

/// By nothing, or by the gate as it is.
template <bool omitted>
Wrong gated_by(TwinSite&) {
  return [](const WrongCall& call) {
    set_each(call.args.out, [&](int64_t r, int64_t i) {
      const float x = call.args.in[0].row(r)[i];
      return omitted ? x : x * call.args.in[1].row(r)[0];
    });
  };
}

}  // namespace

FaultList expert_faults() {
  const std::string routing = kGitHub + "flashinfer-ai/flashinfer/pull/2889",
                    order = kGitHub + "vllm-project/vllm/issues/54521",
                    slots = kGitHub + "radixark/miles/issues/2722", sums = kGitHub + "lablup/mlxcel/pull/391",
                    function = kGitHub + "MetaX-MACA/vLLM-metax/issues/270",
                    shared = kGitHub + "sgl-project/sglang/pull/26845",
                    ungated = kGitHub + "NousResearch/torchtitan/pull/36", madeup = kMadeUp;
  const auto expert = [](const char* name, Stage stage, const char* what, const std::string& source,
                         MakeWrong make) {
    return Fault{name, "wrong_expert", stage, what, source, "wrong_expert", std::move(make)};
  };
  const auto of_class = [](const char* name, const char* kind, Stage stage, const char* what,
                           const std::string& source, MakeWrong make) {
    return Fault{name, kind, stage, what, source, kind, std::move(make)};
  };
  using enum Stage;
  return {
      expert("experts_from_one", experts, "experts are numbered from 1", madeup, number_from_one),
      expert("experts_lowest", experts, "the lowest scores are chosen", routing, choose_by<is_lower, 0>),
      expert("experts_second_best", experts, "the highest score is passed over", routing,
             choose_by<is_higher, 1>),
      expert("experts_by_magnitude", experts, "the largest magnitudes of scores are chosen", routing,
             choose_by<is_larger, 0>),
      expert("expert_gate_next", expert_gate, "the next expert's matrix", slots, next_expert),
      expert("expert_up_first", expert_up, "the first chosen expert's matrix for all", slots, first_for_all),
      expert("expert_down_next", expert_down, "the next expert's matrix", slots, next_expert),
      expert("expert_down_reversed", expert_down, "the chosen experts in reverse order", slots, in_reverse),
      expert("expert_down_place", expert_down, "the place in the choice for the expert's number", slots,
             place_for_number),
      of_class("expert_gate_reads_up", "swapped_weight", expert_gate, "the experts' Wup", madeup,
               matrices_of_up),
      of_class("expert_down_of_neighbour", "wrong_layer_weight", expert_down, "the experts of another layer",
               madeup, matrices_of_neighbour),
      of_class("expert_weights_sum", "expert_weights_normalised", expert_weights,
               "divided by their sum where they should not be, or not where they should", sums,
               other_normalisation),
      of_class("expert_weights_sigmoid", "expert_weights_function", expert_weights,
               "a sigmoid in the place of the softmax", function, sigmoid_weights),
      of_class("expert_weights_reversed", "expert_order", expert_weights, "in the reverse order", order,
               weights_reversed),
      of_class("router_bf16_input", "undeclared_rounding", router, "its input is rounded to bf16", routing,
               rounded_to_bf16),
      of_class("expert_weights_bf16", "undeclared_rounding", expert_weights,
               "of scores that are rounded to bf16", routing, rounded_to_bf16),
      of_class("experts_out_reversed", "expert_order", experts_out, "weights in the reverse order", order,
               in_reverse),
      of_class("experts_out_unweighted", "experts_unweighted", experts_out, "added without their weights",
               slots, unweighted),
      of_class("experts_out_weighted_twice", "experts_unweighted", experts_out, "weighted twice", slots,
               weighted_twice),
      of_class("experts_out_last_dropped", "expert_dropped", experts_out, "the last one is left out", slots,
               last_left_out),
      of_class("experts_out_first_alone", "expert_dropped", experts_out, "only the first one is there", slots,
               first_alone),
      of_class("shared_expert_dropped", "shared_expert", ffn_out, "the shared expert is not added", shared,
               added<0, 1>),
      of_class("shared_expert_twice", "shared_expert", ffn_out, "the shared expert is added twice", shared,
               added<2, 1>),
      of_class("chosen_experts_dropped", "shared_expert", ffn_out, "the chosen experts are not added", shared,
               added<1, 0>),
      of_class("shared_gate_omitted", "shared_expert_gate", shared_out, "the gate is left out", ungated,
               gated_by<true>),
      of_class("shared_gate_without_sigmoid", "shared_expert_gate", shared_out, "the gate has no sigmoid",
               ungated, gated_by<false>),
  };
}

}  // namespace greta
