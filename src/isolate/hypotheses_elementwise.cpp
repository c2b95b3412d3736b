// Residual additions and the activation.

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <numbers>

#include "isolate/hypothesis.h"

namespace greta::isolate {
namespace {

/// A value per element from both operands' values; a few f32 roundings of the parts are allowed.
Candidate elementwise(std::function<double(double a, double b)> value, std::string en, std::string es,
                      int fitted = 0) {
  return {[value](const Observation&, StageProblem& problem) {
            problem.how = [value](const StageProblem&, const Values& values) {
              Expected expected;
              for (size_t i = 0; i < values[0].size(); ++i) {
                const double a = static_cast<double>(values[0][i]), b = static_cast<double>(values[1][i]);
                expected.value.push_back(value(a, b));
                expected.bound.push_back(8 * bounds::kU *
                                             (std::abs(expected.value.back()) + std::abs(a) + std::abs(b)) +
                                         bounds::kTiny);
              }
              return expected;
            };
            return true;
          },
          std::move(en), std::move(es), fitted};
}

bool is_residual(const Suspect& s) { return s.stage == Stage::x_attn || s.stage == Stage::x_out; }

std::vector<Candidate> residual_omitted(const Suspect& s) {
  if (!is_residual(s)) return {};
  return {
      elementwise([](double, double b) { return b; }, "the residual is not added: only the branch is there",
                  "no se suma el residuo: solo queda la rama"),
      elementwise([](double a, double) { return a; }, "the branch is not added: only the residual is there",
                  "no se suma la rama: solo queda el residuo")};
}

std::vector<Candidate> residual_doubled(const Suspect& s) {
  if (!is_residual(s)) return {};
  return {elementwise([](double a, double b) { return 2 * a + b; }, "the residual is added twice",
                      "el residuo se suma dos veces"),
          elementwise([](double a, double b) { return a + 2 * b; }, "the branch is added twice",
                      "la rama se suma dos veces")};
}

/// y = a + c b, or c a + b: the c that fits best.
std::vector<Candidate> residual_scaled(const Suspect& s) {
  if (!is_residual(s) || !s.direct) return {};
  std::vector<Candidate> candidates;
  for (const size_t scaled : {1u, 0u}) {
    double both = 0, square = 0;
    for (const Observation& seen : s.evidence.observations) {
      const std::vector<Operand>& operands = seen.problem->operands;
      if (operands[0].values.empty() || operands[1].values.empty()) return {};
      for (size_t i = 0; i < seen.observed.size(); ++i) {
        if (!std::isfinite(seen.observed[i])) continue;
        const double x = static_cast<double>(operands[scaled].values[i]);
        both +=
            x * (static_cast<double>(seen.observed[i]) - static_cast<double>(operands[1 - scaled].values[i]));
        square += x * x;
      }
    }
    const double c = both / square;
    if (!std::isfinite(c)) continue;
    const char* en = scaled == 1 ? "branch" : "residual";
    const char* es = scaled == 1 ? "la rama" : "el residuo";
    candidates.push_back(
        elementwise([c, scaled](double a, double b) { return scaled == 1 ? a + c * b : c * a + b; },
                    fmt::format("the {} is scaled by {:.6g} before it is added", en, c),
                    fmt::format("{} se multiplica por {:.6g} antes de sumarse", es, c), 1));
  }
  return candidates;
}

std::vector<Candidate> residual_after_norm(const Suspect& s) {
  if (!is_residual(s)) return {};
  const Stage norm = s.stage == Stage::x_attn ? Stage::attn_norm : Stage::ffn_norm;
  return {{[norm](const Observation& seen, StageProblem& problem) {
             auto rows = recorded_rows(*seen.phase, norm, problem.layer, problem.positions);
             if (!rows) return false;
             problem.operands[0] = {std::move(*rows), nullptr};
             return true;
           },
           fmt::format("the residual is taken after the norm: from {}", name(norm)),
           fmt::format("el residuo se toma después de la norma: de {}", name(norm))}};
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double gelu_tanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
}

double gelu_erf(double x) { return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2)); }

std::vector<Candidate> gate_up_swapped(const Suspect& s) {
  if (s.stage != Stage::act) return {};
  return {elementwise([](double g, double u) { return u * sigmoid(u) * g; },
                      "gate and up are swapped: silu is applied to up",
                      "gate y up están intercambiados: silu de up")};
}

std::vector<Candidate> wrong_activation(const Suspect& s) {
  if (s.stage != Stage::act) return {};
  const auto of = [](double (*f)(double), const char* what) {
    return elementwise([f](double g, double u) { return f(g) * u; },
                       fmt::format("the activation is {}, not SiLU", what),
                       fmt::format("la activación es {}, no SiLU", what));
  };
  std::vector<Candidate> candidates = {of(gelu_tanh, "GELU (tanh)"),
                                       of(gelu_erf, "GELU (erf)"),
                                       of([](double x) { return x > 0 ? x : 0.0; }, "ReLU"),
                                       of([](double x) { return x * sigmoid(1.702 * x); }, "quick GELU"),
                                       of(sigmoid, "a sigmoid"),
                                       of([](double x) { return x; }, "the identity"),
                                       of([](double x) { return x > 0 ? x * x : 0.0; }, "squared ReLU")};
  candidates.push_back(elementwise([](double g, double) { return g * sigmoid(g); },
                                   "up is not multiplied: only silu(gate) is there",
                                   "no se multiplica por up: solo queda silu(gate)"));
  candidates.push_back(elementwise([](double g, double u) { return g * sigmoid(g) + u; },
                                   "up is added to silu(gate), not multiplied", "up se suma a silu(gate)"));
  return candidates;
}

constexpr const char* kBranch = "https://github.com/chrishayuk/larql/pull/181";

const std::array<Hypothesis, 6> kTable{{
    {"residual_omitted", "the residual, or the branch, is not added", "no se suma el residuo, o la rama",
     kBranch, residual_omitted},
    {"residual_doubled", "the residual, or the branch, is added twice",
     "el residuo, o la rama, se suma dos veces", kBranch, residual_doubled},
    {"residual_scaled", "the branch or the residual is scaled; the factor is estimated",
     "la rama o el residuo se multiplica por un factor, que se estima",
     "https://github.com/sawfwair/mere-run/pull/136", residual_scaled},
    {"residual_after_norm", "the residual is taken after the norm", "el residuo se toma después de la norma",
     kBranch, residual_after_norm},
    {"gate_up_swapped", "gate and up are swapped", "gate y up están intercambiados",
     "https://github.com/chrishayuk/larql/pull/181", gate_up_swapped},
    {"wrong_activation", "another activation function", "otra función de activación",
     "https://github.com/ggml-org/llama.cpp/pull/13951", wrong_activation},
}};

}  // namespace

std::span<const Hypothesis> elementwise_hypotheses() { return kTable; }

}  // namespace greta::isolate
