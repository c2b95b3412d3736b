// Residual additions and the activation.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "judge/hypotheses/hypothesis.h"

namespace greta {
namespace {

/// A value per element from both operands' values, the second as the model scales it; a few f32 roundings of
/// the parts are allowed.
Candidate elementwise(std::function<double(double a, double b)> value, Text title, int fitted = 0) {
  return computed_by(
      [value = std::move(value)](const StageProblem& p, const Values& values) {
        Expected expected;
        for (size_t i = 0; i < values[0].size(); ++i) {
          const double a = static_cast<double>(values[0][i]), b = p.scale * static_cast<double>(values[1][i]);
          expected.value.push_back(value(a, b));
          expected.bound.push_back(
              8 * bounds::kU * (std::abs(expected.value.back()) + std::abs(a) + std::abs(b)) + bounds::kTiny);
        }
        return expected;
      },
      std::move(title), fitted);
}

// Of a shared expert and the chosen ones: shared_expert's.
bool is_residual(const Suspect& s) { return s.kind() == StageKind::sum && s.at.stage != Stage::ffn_out; }

std::vector<Candidate> residual_omitted(const Suspect& s) {
  if (!is_residual(s)) return {};
  return {
      elementwise([](double, double b) { return b; }, {"the residual is not added: only the branch is there",
                                                       "no se suma el residuo: solo queda la rama"}),
      elementwise([](double a, double) { return a; }, {"the branch is not added: only the residual is there",
                                                       "no se suma la rama: solo queda el residuo"})};
}

std::vector<Candidate> residual_doubled(const Suspect& s) {
  if (!is_residual(s)) return {};
  return {elementwise([](double a, double b) { return 2 * a + b; },
                      {"the residual is added twice", "el residuo se suma dos veces"}),
          elementwise([](double a, double b) { return a + 2 * b; },
                      {"the branch is added twice", "la rama se suma dos veces"})};
}

/// y = a + c b, or c a + b: the c that fits best.
std::vector<Candidate> residual_scaled(const Suspect& s) {
  if (!is_residual(s) || !s.direct) return {};
  std::vector<Candidate> candidates;
  const double own = s.config().residual_scale;  // of the branch
  for (const size_t scaled : {1u, 0u}) {
    double both = 0, square = 0;
    for (const Observation& seen : s.evidence.observations) {
      const std::vector<Operand>& operands = seen.problem->operands;
      if (operands[0].values.empty() || operands[1].values.empty()) return {};
      for (size_t i = 0; i < seen.observed.size(); ++i) {
        if (!std::isfinite(seen.observed[i]) || !seen.in_affected(i)) continue;
        const double branch = own * static_cast<double>(operands[1].values[i]);
        const double residual = static_cast<double>(operands[0].values[i]);
        const double x = scaled == 1 ? branch : residual;
        both += x * (static_cast<double>(seen.observed[i]) - (scaled == 1 ? residual : branch));
        square += x * x;
      }
    }
    const double c = both / square;
    if (!std::isfinite(c)) continue;
    const char* en = scaled == 1 ? "branch" : "residual";
    const char* es = scaled == 1 ? "la rama" : "el residuo";
    candidates.push_back(elementwise(
        [c, scaled](double a, double b) { return scaled == 1 ? a + c * b : c * a + b; },
        {fmt::format("the {} is scaled by {:.6g} before it is added", en, scaled == 1 ? own * c : c),
         fmt::format("{} se multiplica por {:.6g} antes de sumarse", es, scaled == 1 ? own * c : c)},
        1));
  }
  return candidates;
}

/// The norm that reads the stage.
std::optional<Stage> norm_of(Stage stage) {
  for (const StageInfo& row : kStageTable) {
    if (row.kind == StageKind::norm && row.inputs.span().front() == stage) return row.stage;
  }
  return std::nullopt;
}

std::vector<Candidate> residual_after_norm(const Suspect& s) {
  if (!is_residual(s)) return {};
  const std::optional<Stage> after = norm_of(inputs_of(s.at.stage).front());
  if (!after) return {};
  return {from_rows(0,
                    [norm = *after](const Observation& seen, const StageProblem& problem) {
                      return recorded_rows(*seen.phase, {problem.at.layer, norm}, problem.positions);
                    },
                    {fmt::format("the residual is taken after the norm: from {}", name(*after)),
                     fmt::format("el residuo se toma después de la norma: de {}", name(*after))})};
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double gelu_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

double gelu_erf(double x) { return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2)); }

double silu(double x) { return x * sigmoid(x); }

/// gpt-oss' activation by its numbers.
struct Swiglu {
  double gate_above = 7, gate_below = -INFINITY, up_limit = 7, alpha = 1.702, added = 1;

  double operator()(double gate, double up) const {
    const double g = std::clamp(gate, gate_below, gate_above), u = std::clamp(up, -up_limit, up_limit);
    return g * sigmoid(alpha * g) * (u + added);
  }
};

std::vector<Candidate> swiglu_oai(const Suspect& s) {
  if (s.kind() != StageKind::product || s.config().activation != Activation::swiglu_oai) return {};
  struct Part {
    Swiglu how;
    Text title;
  };
  static const std::array<Part, 7> parts{{
      {{.gate_above = INFINITY, .up_limit = INFINITY},
       {"gate and up are not clamped to 7", "gate y up no se limitan a 7"}},
      {{.gate_above = INFINITY}, {"gate is not clamped to 7", "gate no se limita a 7"}},
      {{.up_limit = INFINITY}, {"up is not clamped to +-7", "up no se limita a +-7"}},
      {{.gate_below = -7}, {"gate is clamped from below, too", "gate se limita también por abajo"}},
      {{.alpha = 1},
       {"the sigmoid is of gate, not of 1.702 gate", "la sigmoide es de gate, no de 1.702 gate"}},
      {{.added = 0}, {"1 is not added to up", "no se suma 1 a up"}},
      {{.gate_above = INFINITY, .up_limit = INFINITY, .alpha = 1, .added = 0},
       {"the activation is SiLU(gate) up, not clamped and without the 1",
        "la activación es SiLU(gate) up, sin límites y sin el 1"}},
  }};
  std::vector<Candidate> candidates;
  for (const Part& part : parts) candidates.push_back(elementwise(part.how, part.title));
  candidates.push_back(elementwise([](double g, double u) { return Swiglu{}(u, g); },
                                   {"gate and up are swapped", "gate y up están intercambiados"}));
  return candidates;
}

/// The model's activation.
struct Own {
  double (*f)(double);
  const char *name, *in_formulas;
};

Own own_activation(const Suspect& s) {
  if (s.config().activation == Activation::gelu) return {gelu_tanh, "GELU (tanh)", "gelu"};
  return {silu, "SiLU", "silu"};
}

/// Of one function of gate, times up; swiglu_oai()'s is none.
bool is_gated_product(const Suspect& s) {
  return s.kind() == StageKind::product && s.config().activation != Activation::swiglu_oai;
}

std::vector<Candidate> gate_up_swapped(const Suspect& s) {
  if (!is_gated_product(s)) return {};
  const Own own = own_activation(s);
  return {elementwise([f = own.f](double g, double u) { return f(u) * g; },
                      {fmt::format("gate and up are swapped: {} is applied to up", own.in_formulas),
                       fmt::format("gate y up están intercambiados: {} de up", own.in_formulas)})};
}

std::vector<Candidate> wrong_activation(const Suspect& s) {
  if (!is_gated_product(s)) return {};
  const Own own = own_activation(s);
  const auto of = [&](double (*f)(double), const char* what) {
    return elementwise([f](double g, double u) { return f(g) * u; },
                       {fmt::format("the activation is {}, not {}", what, own.name),
                        fmt::format("la activación es {}, no {}", what, own.name)});
  };
  const bool gelu = own.f == gelu_tanh;
  std::vector<Candidate> candidates = {gelu ? of(silu, "SiLU") : of(gelu_tanh, "GELU (tanh)"),
                                       of(gelu_erf, "GELU (erf)"),
                                       of([](double x) { return x > 0 ? x : 0.0; }, "ReLU"),
                                       of([](double x) { return x * sigmoid(1.702 * x); }, "quick GELU"),
                                       of(sigmoid, "a sigmoid"),
                                       of([](double x) { return x; }, "the identity"),
                                       of([](double x) { return x > 0 ? x * x : 0.0; }, "squared ReLU")};
  candidates.push_back(
      elementwise([f = own.f](double g, double) { return f(g); },
                  {fmt::format("up is not multiplied: only {}(gate) is there", own.in_formulas),
                   fmt::format("no se multiplica por up: solo queda {}(gate)", own.in_formulas)}));
  candidates.push_back(elementwise([f = own.f](double g, double u) { return f(g) + u; },
                                   {fmt::format("up is added to {}(gate), not multiplied", own.in_formulas),
                                    fmt::format("up se suma a {}(gate)", own.in_formulas)}));
  return candidates;
}

constexpr const char* kBranch = "https://github.com/chrishayuk/larql/pull/181";

const std::array<Hypothesis, 7> kElementwise{{
    {"residual_omitted",
     {"the residual, or the branch, is not added", "no se suma el residuo, o la rama"},
     kBranch,
     residual_omitted},
    {"residual_doubled",
     {"the residual, or the branch, is added twice", "el residuo, o la rama, se suma dos veces"},
     kBranch,
     residual_doubled},
    {"residual_scaled",
     {"the branch or the residual is scaled; the factor is estimated",
      "la rama o el residuo se multiplica por un factor, que se estima"},
     "https://github.com/sawfwair/mere-run/pull/136",
     residual_scaled},
    {"residual_after_norm",
     {"the residual is taken after the norm", "el residuo se toma después de la norma"},
     kBranch,
     residual_after_norm},
    {"gate_up_swapped",
     {"gate and up are swapped", "gate y up están intercambiados"},
     "https://github.com/chrishayuk/larql/pull/181",
     gate_up_swapped},
    {"wrong_activation",
     {"another activation function", "otra función de activación"},
     "https://github.com/ggml-org/llama.cpp/pull/13951",
     wrong_activation},
    {"swiglu_oai",
     {"gpt-oss' activation without its clamps, its alpha or its 1",
      "la activación de gpt-oss sin sus límites, su alfa o su 1"},
     "https://github.com/sgl-project/sglang/pull/39939",
     swiglu_oai},
}};

}  // namespace

std::span<const Hypothesis> elementwise_hypotheses() { return kElementwise; }

}  // namespace greta
