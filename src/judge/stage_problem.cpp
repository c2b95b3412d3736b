#include "judge/stage_problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "judge/gap_bounds.h"
#include "numerics/activation.h"
#include "numerics/dequant.h"
#include "numerics/metrics.h"

namespace greta {
namespace {

/// Runs of consecutive positions: `visit(first row, rows, position of the first)`.
void each_run(const std::vector<int64_t>& positions,
              const std::function<void(size_t row, size_t rows, int64_t position)>& visit) {
  for (size_t row = 0; row < positions.size();) {
    size_t end = row + 1;
    while (end < positions.size() && positions[end] == positions[end - 1] + 1) ++end;
    visit(row, end - row, positions[row]);
    row = end;
  }
}

void append(Expected& to, const Expected& more) {
  to.value.insert(to.value.end(), more.value.begin(), more.value.end());
  to.bound.insert(to.bound.end(), more.bound.begin(), more.bound.end());
}

/// `count` of the `total` rows of a result, from row `first`.
Expected rows_of(const Expected& whole, size_t first, size_t count, size_t total) {
  const auto part = [&](const std::vector<double>& values) {
    const auto width = static_cast<std::ptrdiff_t>(values.size() / total);
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(first) * width;
    return std::vector<double>(begin, begin + static_cast<std::ptrdiff_t>(count) * width);
  };
  return {part(whole.value), part(whole.bound), part(whole.drift), part(whole.spread)};
}

Expected exactly(std::span<const float> values) {
  return {{values.begin(), values.end()}, std::vector<double>(values.size(), 0.0)};
}

/// Keys or values of cache rows [n_pos, 2 * kv_dim] -> [n_pos, kv_dim].
std::vector<float> half_of(std::span<const float> cache, int64_t kv_dim, bool keys) {
  std::vector<float> half;
  const size_t row = static_cast<size_t>(2 * kv_dim), skip = keys ? 0 : static_cast<size_t>(kv_dim);
  for (size_t at = 0; at + row <= cache.size(); at += row) {
    const auto begin = cache.begin() + static_cast<std::ptrdiff_t>(at + skip);
    half.insert(half.end(), begin, begin + kv_dim);
  }
  return half;
}

class Solver {
 public:
  Solver(const StageProblem& problem, const Values& values)
      : problem_(problem), values_(values), config_(problem.model->config) {}

  Expected solve() const {
    Expected expected = in_f32();
    const bool is_exact = problem_.kind == StageKind::cache || problem_.kind == StageKind::choice ||
                          problem_.kind == StageKind::join;
    if (!is_projection(problem_.kind) && !is_exact) oracle::add_output_rounding(roundings().output, expected);
    oracle::forget_overflows(roundings().output, expected);
    return expected;
  }

 private:
  const Roundings& roundings() const { return problem_.declared.roundings; }

  /// As declared, but for the rounding of the output.
  Expected in_f32() const {
    switch (problem_.kind) {
      case StageKind::embedding: return values_.empty() ? embed() : exactly(values_[0]);
      case StageKind::norm:
      case StageKind::head_norm: return norm();
      case StageKind::projection:
        return capped(
            oracle::matmul(*problem_.weight, values_[0], rows(), roundings(), problem_.bias, problem_.scale));
      case StageKind::expert_projection:
        return oracle::expert_matmul(*problem_.weight, values_[0], values_[1], problem_.experts.used,
                                     roundings(), problem_.bias);
      case StageKind::head_projection:
        return oracle::head_matmul(*problem_.weight, values_[0], rows(), roundings());
      case StageKind::join:
        return oracle::join_heads(values_[1], values_[0], rows(), row_heads(problem_.at.stage, config_),
                                  config_.rope_dims);
      case StageKind::probabilities: return oracle::sigmoid(operand(0), roundings());
      case StageKind::choice:
        return oracle::choose_experts(values_[0], problem_.experts, choice_biases(problem_));
      case StageKind::choice_weights:
        return oracle::expert_weights(operand(0), values_[1], problem_.experts, problem_.declared.sum_lanes,
                                      roundings().fast_math);
      case StageKind::combination:
        return oracle::combine_experts(operand(0), operand(1), problem_.experts.used, roundings());
      case StageKind::gated: return oracle::sigmoid_mul(operand(0), operand(1), roundings());
      case StageKind::rope: return rope();
      case StageKind::cache: return cache_rows();
      case StageKind::scores: return scores();
      case StageKind::weights: return softmax_rows();
      case StageKind::mix: return weighted_values();
      case StageKind::sum: return oracle::add(operand(0), operand(1), problem_.scale, roundings().between);
      case StageKind::product: return gated();
    }
    return {};
  }

  Expected norm() const {
    // Only of the recorded rows: a hypothesis may put others in their place.
    const bool as_recorded = !problem_.unrounded.empty() && values_[0].data() == problem_.unrounded_of;
    const bool sum = problem_.declared.fused_add && as_recorded;
    return oracle::rms_norm(sum ? problem_.unrounded : operand(0), *problem_.weight, problem_.eps,
                            problem_.declared.sum_lanes, roundings().between);
  }

  /// As the kernel reads it.
  SharedRows operand(size_t i) const {
    const Format format = roundings().activation;
    if (format == Format::f32 || is_block(format)) return values_[i];
    const ActivationRow row = round_activations(values_[i], format);
    return std::vector<float>(row.value.begin(), row.value.end());
  }

  /// Where the model caps them, the product's outputs are rounded to its format first.
  Expected capped(Expected outputs) const {
    if (problem_.cap == 0) return outputs;
    const Format held =
        bounds::unit_roundoff(roundings().output) > bounds::kU ? roundings().output : roundings().between;
    oracle::soft_cap(problem_.cap, held, roundings().fast_math, outputs);
    return outputs;
  }

  Expected gated() const {
    if (config_.activation == Activation::swiglu_oai)
      return oracle::swiglu_oai_mul(operand(0), operand(1), roundings());
    if (config_.activation != Activation::gelu) return oracle::silu_mul(operand(0), operand(1), roundings());
    // f16 arguments and f32 results: a table.
    const bool table = roundings().activation == Format::f16 && roundings().output == Format::f32;
    return table ? oracle::gelu_table_mul(values_[0], values_[1])
                 : oracle::gelu_mul(operand(0), operand(1), roundings());
  }

  int64_t rows() const { return std::ssize(problem_.positions); }
  int64_t kv_dim() const { return problem_.attention.n_head_kv * problem_.attention.head_dim; }

  std::span<const float> rows_of(const SharedRows& all, size_t row, size_t count) const {
    const size_t width = all.size() / problem_.positions.size();
    return std::span(all).subspan(row * width, count * width);
  }

  Expected embed() const {
    return oracle::embed(*problem_.weight, problem_.tokens, problem_.scale, roundings().between);
  }

  Expected rope() const {
    oracle::RopeShape shape = problem_.rope;
    shape.angle_rounding = problem_.declared.angle_rounding;
    shape.angle_growth = problem_.declared.angle_growth;
    shape.between = roundings().between;
    shape.fast_math = roundings().fast_math;
    shape.yarn.whole_borders = problem_.declared.whole_borders.value_or(shape.yarn.whole_borders);
    const SharedRows x = operand(0);
    Expected expected;
    each_run(problem_.positions, [&](size_t row, size_t count, int64_t position) {
      append(expected, oracle::rope(rows_of(x, row, count), shape, position));
    });
    return expected;
  }

  Expected cache_rows() const {
    Expected expected;
    if (problem_.history_rows > 0) expected = exactly(values_[2]);
    const size_t width = static_cast<size_t>(kv_dim());
    const std::vector<float> values = values_in_slots();
    for (size_t at = 0; at < values_[0].size(); at += width) {
      append(expected,
             oracle::kv_write(std::span(values_[0]).subspan(at, width), std::span(values).subspan(at, width),
                              problem_.cache_format, roundings()));
    }
    return expected;
  }

  /// With zeros behind values that are narrower than keys.
  std::vector<float> values_in_slots() const {
    const auto slot = static_cast<size_t>(problem_.attention.head_dim);
    const size_t own = slot * values_[1].size() / std::max<size_t>(values_[0].size(), 1);
    if (own == 0 || own >= slot) return {values_[1].begin(), values_[1].end()};
    std::vector<float> values;
    for (size_t at = 0; at + own <= values_[1].size(); at += own) {
      const auto begin = values_[1].begin() + static_cast<std::ptrdiff_t>(at);
      values.insert(values.end(), begin, begin + static_cast<std::ptrdiff_t>(own));
      values.resize(values.size() + slot - own, 0.0f);
    }
    return values;
  }

  Expected scores() const {
    const std::vector<float> keys = half_of(values_[1], kv_dim(), true);
    Expected expected;
    each_run(problem_.positions, [&](size_t row, size_t count, int64_t position) {
      append(expected,
             oracle::qk(rows_of(values_[0], row, count), keys, problem_.attention, position, roundings()));
    });
    return expected;
  }

  Expected softmax_rows() const {
    const int64_t n_pos = std::ssize(values_[0]) / (rows() * config_.n_head);
    return oracle::softmax(values_[0], n_pos, problem_.declared.sum_lanes, roundings().fast_math,
                           sinks_of(problem_));
  }

  Expected weighted_values() const {
    const std::vector<float> cached = half_of(values_[1], kv_dim(), false);
    oracle::AttentionShape shape = problem_.attention;
    shape.to_last_weight = !problem_.operands.empty() && problem_.operands.front().made_by != nullptr;
    Expected expected;
    each_run(problem_.positions, [&](size_t row, size_t count, int64_t position) {
      append(expected, oracle::pv(rows_of(values_[0], row, count), cached, shape, position, roundings()));
    });
    return expected;
  }

  const StageProblem& problem_;
  const Values& values_;
  const ModelConfig& config_;
};

const Expected& solve(const StageProblem& problem, Solved& memo, bool is_operand = false) {
  if (const auto it = memo.find(&problem); it != memo.end()) return it->second;
  Values values;
  std::vector<const Expected*> makers;
  bool gap = false;
  for (const Operand& operand : problem.operands) {
    makers.push_back(operand.made_by == nullptr ? nullptr : &solve(*operand.made_by, memo, true));
    if (makers.back() == nullptr) {
      values.push_back(operand.values);
    } else {
      values.push_back(std::vector<float>(makers.back()->value.begin(), makers.back()->value.end()));
      gap = true;
    }
  }
  Expected expected = compute(problem, values);
  if (problem.kind == StageKind::choice) gap = false;  // settled() knows how far scores may be
  if (gap && !carry_attention(problem, values, memo, is_operand, expected))
    carry_bounds(problem, values, makers, expected);
  return memo.emplace(&problem, std::move(expected)).first->second;
}

struct Changer {
  const StageProblem* target;
  const std::function<void(StageProblem&)>& apply;
  std::map<const StageProblem*, std::shared_ptr<const StageProblem>> done = {};

  std::shared_ptr<const StageProblem> operator()(const std::shared_ptr<const StageProblem>& problem) {
    if (const auto it = done.find(problem.get()); it != done.end()) return it->second;
    std::shared_ptr<StageProblem> copy;
    const auto own = [&]() -> StageProblem& {
      if (copy == nullptr) copy = std::make_shared<StageProblem>(*problem);
      return *copy;
    };
    for (size_t i = 0; i < problem->operands.size(); ++i) {
      if (problem->operands[i].made_by == nullptr) continue;
      auto maker = (*this)(problem->operands[i].made_by);
      if (maker != problem->operands[i].made_by) own().operands[i].made_by = std::move(maker);
    }
    if (problem.get() == target) apply(own());
    std::shared_ptr<const StageProblem> result = copy == nullptr ? problem : copy;
    return done.emplace(problem.get(), std::move(result)).first->second;
  }
};

}  // namespace

StageProblem model_problem(const Model& model, At at) {
  const ModelConfig& config = model.config;
  StageProblem problem;
  problem.model = &model;
  problem.at = at;
  problem.kind = info(at.stage).kind;
  problem.weight = weight_of(model, {at.stage, at.layer});
  problem.bias = bias_of(model, {at.stage, at.layer});
  problem.scale = scale_of(at.stage, config);
  problem.cap = cap_of(at.stage, config);
  problem.eps = config.norm_eps;
  const LayerConfig own = at.layer < 0 || at.layer >= config.n_layer ? LayerConfig{} : config.layer(at.layer);
  problem.rope = {.heads = row_heads(at.stage, config),
                  .head_dim = rope_width(at.stage, config),
                  .rope_dims = config.rope_dims,
                  .base = own.rope_base,
                  .adjacent = config.rope_adjacent,
                  .scale = own.rope_scale,
                  .factors = model.rope_freqs,
                  .magnitude = own.rope_magnitude,
                  .yarn = own.yarn,
                  .first = rope_first(at.stage, config)};
  problem.experts = {config.n_expert, config.n_expert_used, config.experts_sum_to_1, config.choice};
  problem.attention = {.n_head = config.n_head,
                       .n_head_kv = config.n_head_kv,
                       .head_dim = config.head_dim,
                       .scale = config.attention_scale,
                       .cap = cap_of(at.stage, config),
                       .window = own.window};
  return problem;
}

std::vector<double> sinks_of(const StageProblem& problem) {
  if (problem.kind != StageKind::weights || problem.weight == nullptr) return {};
  std::vector<double> sinks(problem.weight->dims[0]);
  decode_row(*problem.weight, 0, sinks);
  return sinks;
}

std::vector<double> choice_biases(const StageProblem& problem) {
  if (problem.kind != StageKind::choice || problem.bias == nullptr) return {};
  std::vector<double> biases(problem.bias->dims[0]);
  decode_row(*problem.bias, 0, biases);
  return biases;
}

Expected right_of(const StageProblem& problem, const Values& values) {
  return Solver(problem, values).solve();
}

Expected compute(const StageProblem& problem, const Values& values) {
  if (!problem.how) return right_of(problem, values);
  Expected expected = problem.how(problem, values);
  const Roundings& roundings = problem.declared.roundings;
  if (bounds::unit_roundoff(roundings.output) <= bounds::kU) return expected;
  // A formula of its own has f32's bound, or none: the kernel rounds the result, and parts of it on the way.
  const double parts = bounds::unit_roundoff(roundings.between) > bounds::kU ? 3 : 1;
  for (size_t i = 0; i < expected.value.size(); ++i) {
    const double rounding = bounds::rounding(expected.value[i], roundings.output);
    if (expected.bound[i] < rounding) expected.bound[i] += parts * rounding;
  }
  return expected;
}

Expected expected_of(const StageProblem& problem) {
  Solved memo;
  return solve(problem, memo);
}

SharedRows settled(const StageProblem& problem, SharedRows observed) {
  if (problem.kind != StageKind::choice) return observed;
  const Operand& scores = problem.operands.front();
  const Format held = problem.declared.roundings.between;
  if (scores.made_by == nullptr)
    return oracle::settle_ties(observed, scores.values, {}, problem.experts, held, choice_biases(problem));
  const Expected made = expected_of(*scores.made_by);
  const std::vector<float> values(made.value.begin(), made.value.end());
  return oracle::settle_ties(observed, values, made.bound, problem.experts, held, choice_biases(problem));
}

bool is_plain_projection(const StageProblem& problem) {
  return problem.kind == StageKind::projection && problem.how == nullptr && problem.operands.size() == 1 &&
         problem.operands.front().made_by == nullptr;
}

std::vector<Expected> solve_together(std::span<const StageProblem* const> problems) {
  if (problems.empty()) return {};
  StageProblem all = *problems.front();
  std::vector<float> rows;
  all.positions.clear();
  for (const StageProblem* problem : problems) {
    const SharedRows& own = problem->operands.front().values;
    rows.insert(rows.end(), own.begin(), own.end());
    all.positions.insert(all.positions.end(), problem->positions.begin(), problem->positions.end());
  }
  const Expected whole = right_of(all, {SharedRows(std::move(rows))});
  std::vector<Expected> each;
  size_t row = 0;
  for (const StageProblem* problem : problems) {
    each.push_back(rows_of(whole, row, problem->positions.size(), all.positions.size()));
    row += problem->positions.size();
  }
  return each;
}

std::shared_ptr<const StageProblem> with_change(const std::shared_ptr<const StageProblem>& root,
                                                const StageProblem* target,
                                                const std::function<void(StageProblem&)>& change) {
  return Changer{target, change}(root);
}

}  // namespace greta
