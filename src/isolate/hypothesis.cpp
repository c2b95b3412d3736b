#include "isolate/hypothesis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "isolate/misread_weights.h"

namespace greta::isolate {
namespace {

double distance(std::span<const float> observed, std::span<const double> value) {
  double squares = 0;
  for (size_t i = 0; i < observed.size(); ++i) {
    const double difference = static_cast<double>(observed[i]) - value[i];
    squares += difference * difference;
  }
  return std::sqrt(squares);
}

/// Wq, Wk, ... as people write them; a norm by the stage that it makes.
std::string weight_name(Stage stage) {
  switch (stage) {
    case Stage::q: return "Wq";
    case Stage::k: return "Wk";
    case Stage::v: return "Wv";
    case Stage::attn_out: return "Wo";
    case Stage::gate: return "Wgate";
    case Stage::up: return "Wup";
    case Stage::down: return "Wdown";
    case Stage::logits: return "Woutput";
    default: return fmt::format("{}.weight", name(stage));
  }
}

std::vector<Candidate> column_major(const OracleContext& context, Stage stage, int layer) {
  const GgufTensor* weight = weight_of(context.model, stage, layer);
  if (weight == nullptr || !is_projection(stage)) return {};
  auto misread = read_column_major(*weight);
  const std::string w = weight_name(stage);
  return {{{.weight = &misread->tensor}, w + " is read column-major", w + " se lee por columnas", misread}};
}

std::vector<Candidate> rope_row_order(const OracleContext& context, Stage stage, int layer) {
  if (stage != Stage::q && stage != Stage::k) return {};
  const GgufTensor* weight = weight_of(context.model, stage, layer);
  const std::string w = weight_name(stage);
  std::vector<Candidate> candidates;
  for (const bool to_pairs : {true, false}) {
    auto misread = reorder_rope_rows(*weight, context.model.config.head_dim, to_pairs);
    const char* en =
        to_pairs ? "rotate-half rows into adjacent pairs" : "adjacent pairs into rotate-half rows";
    const char* es = to_pairs ? "de mitades a pares adyacentes" : "de pares adyacentes a mitades";
    candidates.push_back({{.weight = &misread->tensor},
                          fmt::format("the rows of {} are permuted once too often: {}", w, en),
                          fmt::format("las filas de {} se permutan una vez de más: {}", w, es),
                          misread});
  }
  return candidates;
}

std::vector<Candidate> wrong_layer(const OracleContext& context, Stage stage, int layer) {
  const GgufTensor* own = weight_of(context.model, stage, layer);
  if (own == nullptr || is_outside_layers(stage)) return {};
  std::vector<Candidate> candidates;
  for (int other = 0; other < context.model.config.n_layer; ++other) {
    const GgufTensor* weight = weight_of(context.model, stage, other);
    if (other == layer || weight == nullptr || weight->dims != own->dims) continue;
    const std::string w = weight_name(stage);
    candidates.push_back({{.weight = weight},
                          fmt::format("{} of layer {} is used in layer {}", w, other, layer),
                          fmt::format("en la capa {1} se usa {2} de la capa {0}", other, layer, w),
                          nullptr});
  }
  return candidates;
}

std::vector<Candidate> swapped(const OracleContext& context, Stage stage, int layer) {
  const GgufTensor* own = weight_of(context.model, stage, layer);
  if (own == nullptr) return {};
  std::vector<Candidate> candidates;
  for (const Stage other : siblings_of(stage)) {
    const GgufTensor* weight = weight_of(context.model, other, layer);
    if (weight == nullptr || weight->dims != own->dims) continue;
    candidates.push_back(
        {{.weight = weight},
         fmt::format("{} is used in the place of {}", weight_name(other), weight_name(stage)),
         fmt::format("se usa {} en lugar de {}", weight_name(other), weight_name(stage)),
         nullptr});
  }
  return candidates;
}

/// With y = x w r, r = 1 / sqrt(mean(x^2) + eps): the r that fits best gives the eps that was used.
std::vector<Candidate> norm_eps(const OracleContext& context, Stage stage, int layer) {
  if (stage != Stage::attn_norm && stage != Stage::ffn_norm && stage != Stage::final_norm) return {};
  std::string why;
  const std::vector<float>& observed = *context.view.data(stage, layer);
  const std::optional<Expected> right = expected_stage(context, stage, layer, {}, &why);
  if (!right) return {};
  const auto [from, at] =
      recorded_inputs(context.view, stage, layer, static_cast<int>(context.model.config.n_layer) - 1).front();
  double square = 0, both = 0, mean = 0;
  for (const float x : *context.view.data(from, at)) mean += static_cast<double>(x) * static_cast<double>(x);
  mean /= static_cast<double>(observed.size());
  for (size_t i = 0; i < observed.size(); ++i) {
    square += right->value[i] * right->value[i];
    both += right->value[i] * static_cast<double>(observed[i]);
  }
  const double eps = (mean + context.model.config.norm_eps) * (square / both) * (square / both) - mean;
  if (!std::isfinite(eps) || eps < -mean) return {};
  const double expected = context.model.config.norm_eps;
  return {{{.eps = eps},
           fmt::format("the eps of {} is {:.3g}, not {:.3g}", name(stage), eps, expected),
           fmt::format("el eps de {} es {:.3g} en lugar de {:.3g}", name(stage), eps, expected),
           nullptr}};
}

std::vector<Candidate> rope_base(const OracleContext& context, Stage stage, int) {
  if (stage != Stage::q_rope && stage != Stage::k_rope) return {};
  std::vector<Candidate> candidates;
  for (const double base : {1e4, 1e5, 1.5e5, 5e5, 1e6, 1e7}) {
    const double expected = context.model.config.rope_base;
    if (base == expected) continue;
    candidates.push_back({{.rope_base = base},
                          fmt::format("the base of RoPE is {:g}, not {:g}", base, expected),
                          fmt::format("la base de RoPE es {:g} en lugar de {:g}", base, expected),
                          nullptr});
  }
  return candidates;
}

constexpr const char* kB331 = "B3.34-36, B3.40 of the founding engine";

const std::array<Hypothesis, 6> kHypotheses{{
    {"weight_column_major", "a weight's row-major buffer is read column-major", kB331, column_major},
    {"rope_row_order", "the rows of Wq or Wk are in the other RoPE order",
     "https://github.com/ggml-org/llama.cpp/pull/22611", rope_row_order},
    {"wrong_layer_weight", "another layer's weight is used",
     "B3.25 of the founding engine (per-layer slices)", wrong_layer},
    {"swapped_weight", "a sibling's weight of the same shape is used (k and v, gate and up, the norms)",
     "no public case at hand", swapped},
    {"norm_eps", "a norm uses another eps; the eps is estimated", "https://github.com/apache/tvm/pull/15856",
     norm_eps},
    {"rope_base", "RoPE uses another common base",
     "https://github.com/Blaizzy/mlx-vlm/pull/1710 (a RoPE setting is not read)", rope_base},
}};

/// The candidate of a hypothesis that comes closest; nullopt when none applies.
std::optional<Explanation> best_of(const Hypothesis& hypothesis, const OracleContext& context, Stage stage,
                                   int layer, double wrong_by) {
  const std::vector<float>& observed = *context.view.data(stage, layer);
  std::optional<Explanation> best;
  for (const Candidate& candidate : hypothesis.candidates(context, stage, layer)) {
    std::string why;
    const std::optional<Expected> value = expected_stage(context, stage, layer, candidate.variant, &why);
    if (!value) continue;
    const double explained = 1 - distance(observed, value->value) / wrong_by;
    if (!best || explained > best->explained_residual) {
      best = Explanation{&hypothesis, candidate.title_en, candidate.title_es, explained};
    }
  }
  return best;
}

}  // namespace

std::span<const Hypothesis> hypotheses() { return kHypotheses; }

std::vector<Explanation> explain(const OracleContext& context, Stage stage, int layer) {
  std::string why;
  const std::optional<Expected> right = expected_stage(context, stage, layer, {}, &why);
  if (!right) return {};
  const double wrong_by = distance(*context.view.data(stage, layer), right->value);
  if (!(wrong_by > 0) || !std::isfinite(wrong_by)) return {};
  std::vector<Explanation> explanations;
  for (const Hypothesis& hypothesis : kHypotheses) {
    if (auto best = best_of(hypothesis, context, stage, layer, wrong_by))
      explanations.push_back(std::move(*best));
  }
  std::stable_sort(explanations.begin(), explanations.end(), [](const Explanation& a, const Explanation& b) {
    return a.explained_residual > b.explained_residual;
  });
  return explanations;
}

void name_cause(std::span<const Explanation> explanations, Finding& finding) {
  finding.hypothesis = "unexplained";
  if (explanations.empty()) return;
  const Explanation& best = explanations[0];
  finding.explained_residual = best.explained_residual;
  if (explanations.size() > 1) {
    finding.runner_up = explanations[1].hypothesis->name;
    finding.runner_up_residual = explanations[1].explained_residual;
  }
  if (best.explained_residual < kExplains) return;
  const bool rival =
      explanations.size() > 1 && best.explained_residual - finding.runner_up_residual < kMargin;
  finding.hypothesis = rival ? "ambiguous" : std::string(best.hypothesis->name);
  finding.title_en = rival ? best.title_en + "; or: " + explanations[1].title_en : best.title_en;
  finding.title_es = rival ? best.title_es + "; o bien: " + explanations[1].title_es : best.title_es;
}

}  // namespace greta::isolate
