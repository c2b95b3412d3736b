// Of a mixture of experts: the choice, its weights, and what its outputs are put together by.

#include "kernels/cpu/common.h"
#include "kernels/math.h"

namespace greta::GRETA_ISA {
namespace {

/// NaN is below all numbers.
GRETA_INLINE bool is_higher(float a, float b) { return a > b || (b != b && a == a); }

/// Insertion: a higher score moves the lower ones on, an equal one stands behind.
GRETA_INLINE void choose_row(const float* scores, int64_t n, float* chosen, int64_t used) {
  for (int64_t expert = 0; expert < n; ++expert) {
    int64_t at = smaller(expert, used);
    while (at > 0 && is_higher(scores[expert], scores[static_cast<int64_t>(chosen[at - 1])])) {
      if (at < used) chosen[at] = chosen[at - 1];
      --at;
    }
    if (at < used) chosen[at] = static_cast<float>(expert);
  }
}

/// Scores and biases as they are compared, those of groups that are not among the best below all.
GRETA_INLINE void eligible(const KernelArgs& args, const float* scores, int64_t n, float* sums) {
  for (int64_t e = 0; e < n; ++e) sums[e] = args.bias == nullptr ? scores[e] : scores[e] + args.bias[e];
  const OpParams& params = args.params;
  if (params.groups <= 1) return;
  float worth[kMostExpertGroups], best[kMostExpertGroups];
  const int64_t size = n / params.groups;
  for (int64_t group = 0; group < params.groups; ++group) {
    const int64_t count = smaller(params.group_best, size);
    choose_row(sums + group * size, size, best, count);
    worth[group] = 0;
    for (int64_t i = 0; i < count; ++i) worth[group] += sums[group * size + static_cast<int64_t>(best[i])];
  }
  choose_row(worth, params.groups, best, params.groups_used);
  for (int64_t group = 0; group < params.groups; ++group) {
    bool chosen = false;
    for (int64_t i = 0; i < params.groups_used; ++i)
      chosen = chosen || static_cast<int64_t>(best[i]) == group;
    for (int64_t e = group * size; !chosen && e < (group + 1) * size; ++e) sums[e] = -__builtin_inff();
  }
}

void choose_experts(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("choose_experts"));
  const Part::Range rows = part.of(args.out.rows);
  const int64_t n = args.in[0].cols;
  const bool plain = args.bias == nullptr && args.params.groups <= 1;
  float sums[kMostBiasedExperts];
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* scores = args.in[0].row(r);
    if (!plain) eligible(args, scores, n, sums);
    choose_row(plain ? scores : sums, n, args.out.row(r), args.out.cols);
  }
}

/// The sum of e^(x - most) in 16 lanes and by the fixed tree, as softmax has it.
GRETA_INLINE float exp_sum(const float* x, int64_t n, f32x16 most) {
  f32x16 sums(0.0f);
  for (int64_t i = 0; i < n; i += 16)
    sums = sums + math::exp(load_upto(x + i, lanes_left(n, i), -__builtin_inff()) - most);
  return sum_tree(sums);
}

/// e^(score - highest) times 1 / the sum, of the chosen or of all. On the way `out` holds the chosen scores.
GRETA_INLINE void weigh_row(const View& scores, const View& chosen, bool sum_to_1, int64_t r, float* out) {
  const float* all = scores.row(r);
  f32x16 top(-__builtin_inff());
  for (int64_t i = 0; i < scores.cols; i += 16) {
    const f32x16 v = load_upto(all + i, lanes_left(scores.cols, i), -__builtin_inff());
    top = select(less(top, v), v, top);
  }
  for (int64_t i = 0; i < chosen.cols; ++i) {
    const int64_t expert = static_cast<int64_t>(chosen.row(r)[i]);
    out[i] = all[expert < 0 || expert >= scores.cols ? 0 : expert];
  }
  const f32x16 most(max_of(top));
  const float sum = sum_to_1 ? exp_sum(out, chosen.cols, most) : exp_sum(all, scores.cols, most);
  const f32x16 inverse(1.0f / sum);
  for (int64_t i = 0; i < chosen.cols; i += 16) {
    const int n = lanes_left(chosen.cols, i);
    store_upto(out + i, math::exp(load_upto(out + i, n) - most) * inverse, n);
  }
}

/// Probabilities of the chosen, divided by their sum or as they are.
GRETA_INLINE void take_row(const View& scores, const View& chosen, bool sum_to_1, int64_t r, float* out) {
  float sum = 0;
  for (int64_t i = 0; i < chosen.cols; ++i) {
    const int64_t expert = static_cast<int64_t>(chosen.row(r)[i]);
    out[i] = scores.row(r)[expert < 0 || expert >= scores.cols ? 0 : expert];
    sum += out[i];
  }
  for (int64_t i = 0; sum_to_1 && i < chosen.cols; ++i) out[i] = out[i] / sum;
}

void sigmoid(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("sigmoid"));
  const Part::Range rows = part.of(args.out.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    for (int64_t i = 0; i < args.out.cols; i += 16) {
      const int n = lanes_left(args.out.cols, i);
      const f32x16 x = load_upto(args.in[0].row(r) + i, n);
      store_upto(args.out.row(r) + i, f32x16(1.0f) / (f32x16(1.0f) + math::exp(f32x16(0.0f) - x)), n);
    }
  }
}

void expert_weights(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("expert_weights"));
  const Part::Range rows = part.of(args.out.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r)
    args.params.are_probabilities
        ? take_row(args.in[0], args.in[1], args.params.sum_to_1, r, args.out.row(r))
        : weigh_row(args.in[0], args.in[1], args.params.sum_to_1, r, args.out.row(r));
  for (int64_t r = rows.begin; args.params.scale != 1 && r < rows.end; ++r) {
    for (int64_t i = 0; i < args.out.cols; ++i) args.out.row(r)[i] *= args.params.scale;
  }
}

void combine_experts(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("combine_experts"));
  const Part::Range rows = part.of(args.out.rows);
  const int64_t width = args.out.cols;
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    for (int64_t i = 0; i < width; i += 16) {
      const int n = lanes_left(width, i);
      f32x16 sum(0.0f);
      for (int64_t slot = 0; slot < args.in[1].cols; ++slot)
        sum =
            fma(load_upto(args.in[0].row(r) + slot * width + i, n), broadcast(args.in[1].row(r) + slot), sum);
      store_upto(args.out.row(r) + i, sum, n);
    }
  }
}

void sigmoid_mul(const KernelArgs& args, Part part) {
  stamp(args, part, GRETA_NAME("sigmoid_mul"));
  const Part::Range rows = part.of(args.out.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const f32x16 share =
        f32x16(1.0f) / (f32x16(1.0f) + math::exp(f32x16(0.0f) - broadcast(args.in[1].row(r))));
    for (int64_t i = 0; i < args.out.cols; i += 16) {
      const int n = lanes_left(args.out.cols, i);
      store_upto(args.out.row(r) + i, load_upto(args.in[0].row(r) + i, n) * share, n);
    }
  }
}

constexpr KernelEntry expert_entry(const char* name, OpKind op, KernelFn run) {
  return {.name = name, .op = op, .run = run};
}

constexpr KernelEntry kExpertEntries[] = {
    expert_entry(GRETA_NAME("choose_experts"), OpKind::choose_experts, choose_experts),
    expert_entry(GRETA_NAME("expert_weights"), OpKind::expert_weights, expert_weights),
    expert_entry(GRETA_NAME("combine_experts"), OpKind::combine_experts, combine_experts),
    expert_entry(GRETA_NAME("sigmoid"), OpKind::sigmoid, sigmoid),
    expert_entry(GRETA_NAME("sigmoid_mul"), OpKind::sigmoid_mul, sigmoid_mul),
};

}  // namespace

extern const KernelList kExpertKernels;
const KernelList kExpertKernels{kExpertEntries, sizeof(kExpertEntries) / sizeof(kExpertEntries[0])};

}  // namespace greta::GRETA_ISA
