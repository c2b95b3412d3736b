// RMSNorms, residuals and activations computed wrongly by hand: each must be named.

#include <numbers>

#include "judge/hypotheses/named.h"

namespace greta {
namespace {

using test::Mistake;
using test::NamedCase;
using test::PlainMatrix;
using test::PlainSite;
using test::Row;

using enum Stage;

Stage input_of(Stage norm) { return norm == attn_norm ? x_in : (norm == ffn_norm ? x_attn : x_out); }

struct Moments {
  double mean = 0, square = 0, max = 0;
};

Moments moments(const Row& x) {
  Moments m;
  for (const float value : x) {
    const double v = static_cast<double>(value);
    m.mean += v;
    m.square += v * v;
    m.max = std::max(m.max, std::abs(v));
  }
  m.mean /= static_cast<double>(x.size());
  m.square /= static_cast<double>(x.size());
  return m;
}

/// A norm by a wrong formula of the row's moments, an element and its weight.
std::function<Row(const PlainSite&)> norm_as(std::function<double(const Moments&, double x, double w)> f) {
  return [f](const PlainSite& s) {
    const Row& x = s.in(input_of(s.stage));
    const PlainMatrix weight = s.weight();
    const Moments m = moments(x);
    Row y(x.size());
    for (size_t i = 0; i < x.size(); ++i)
      y[i] = static_cast<float>(f(m, static_cast<double>(x[i]), weight.w[i]));
    return y;
  };
}

std::function<Row(const PlainSite&)> norm_with_eps(double eps) {
  return [eps](const PlainSite& s) { return test::normed(s.in(input_of(s.stage)), s.weight(), eps); };
}

/// The sum of squares of the elements from `begin` to `end`, divided by `divisor`.
std::function<Row(const PlainSite&)> norm_of_some(size_t begin, size_t end, double divisor) {
  return [=](const PlainSite& s) {
    const Row& x = s.in(input_of(s.stage));
    const PlainMatrix weight = s.weight();
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    Row y(x.size());
    for (size_t i = 0; i < x.size(); ++i)
      y[i] = static_cast<float>(static_cast<double>(x[i]) * weight.w[i] / std::sqrt(sum / divisor + 1e-5));
    return y;
  };
}

/// The second operand of a residual is its branch.
std::function<Row(const PlainSite&)> residual_as(double (*f)(double residual, double branch)) {
  return [f](const PlainSite& s) {
    return s.stage == x_attn ? test::zipped(s.in(x_in), s.in(attn_out), f)
                             : test::zipped(s.in(x_attn), s.in(down), f);
  };
}

std::function<Row(const PlainSite&)> act_as(double (*f)(double gate, double up)) {
  return [f](const PlainSite& s) { return test::zipped(s.in(gate), s.in(up), f); };
}

constexpr double kEps = 1e-5;  // the model's

std::vector<NamedCase> norm_cases() {
  const std::string eps = "norm_eps", outside = "norm_eps_outside_root", omitted = "norm_omitted";
  const std::string add = "residual_omitted", twice = "residual_doubled", silu = "wrong_activation";
  const auto root = [](double square) { return std::sqrt(square + kEps); };
  return {
      {"EpsOf1em6", eps, attn_norm, 0, norm_with_eps(1e-6), "is 1e-06, not 1e-05"},
      {"EpsEstimated", eps, ffn_norm, 1, norm_with_eps(2.5e-4), "is 0.00025, not 1e-05", "decode"},
      {"EpsALittleOff", eps, attn_norm, 0, norm_with_eps(1.25e-5), "is 1.25e-05", "prefill"},
      {"EpsOmitted", eps, attn_norm, 0, norm_with_eps(0), "is at most", "prefill"},
      {"EpsOutsideTheRoot", outside, attn_norm, 1,
       norm_as([](const Moments& m, double x, double w) { return x * w / (std::sqrt(m.square) + 1e-3); }),
       "eps (0.001) is added to the root"},
      {"EpsRescaled", "norm_eps_rescaled", ffn_norm, 0, norm_as([=](const Moments& m, double x, double w) {
         return x * w / root(m.square + kEps * (m.max * m.max - 1));
       }),
       "eps * max^2", "prefill"},
      {"OnePlusWeight", "norm_plus_one", attn_norm, 0,
       norm_as([=](const Moments& m, double x, double w) { return x * (1 + w) / root(m.square); }),
       "1 is added"},
      {"WeightLessOne", "norm_plus_one", final_norm, -1,
       norm_as([=](const Moments& m, double x, double w) { return x * (w - 1) / root(m.square); }),
       "1 is taken"},
      {"NotNormalised", omitted, ffn_norm, 1,
       norm_as([](const Moments&, double x, double w) { return x * w; }), "only the weight", "decode"},
      {"NormSkipped", omitted, final_norm, -1, norm_as([](const Moments&, double x, double) { return x; }),
       "the norm is skipped"},
      {"WeightOmitted", "norm_weight_omitted", attn_norm, 1,
       norm_as([=](const Moments& m, double x, double) { return x / root(m.square); }), "not applied"},
      {"MeanSubtracted", "norm_mean_subtracted", ffn_norm, 0,
       norm_as([=](const Moments& m, double x, double w) {
         return (x - m.mean) * w / root(m.square - m.mean * m.mean);
       }),
       "LayerNorm"},
      {"ValueInBf16", "norm_value_rounded", ffn_norm, 1, norm_as([=](const Moments& m, double x, double w) {
         const float value = static_cast<float>(x / root(m.square));
         return static_cast<double>(bf16_to_f32(f32_to_bf16(value))) * w;
       }),
       "rounded to bf16 before its weight"},
      {"SumForMean", "norm_sum_for_mean", attn_norm, 0,
       norm_as([=](const Moments& m, double x, double w) { return x * w / root(64 * m.square); }),
       "not divided by the length", "prefill"},
      {"SumWithoutTheTail", "norm_sum_partial", attn_norm, 1, norm_of_some(0, 48, 64), "the first 48 of 64"},
      {"SumWithoutTheHead", "norm_sum_partial", ffn_norm, 0, norm_of_some(8, 64, 64), "the last 56 of 64",
       "decode"},
      {"MeanWithoutTheTail", "norm_sum_partial", final_norm, -1, norm_of_some(0, 60, 60),
       "the first 60 of 64 elements only, and is divided by their number"},

      {"ResidualOmitted", add, x_attn, 0, residual_as([](double, double b) { return b; }),
       "the residual is not added"},
      {"BranchOmitted", add, x_out, 1, residual_as([](double a, double) { return a; }),
       "the branch is not added", "decode"},
      {"ResidualTwice", twice, x_out, 0, residual_as([](double a, double b) { return 2 * a + b; }),
       "the residual is added twice", "prefill"},
      {"BranchTwice", twice, x_attn, 1, residual_as([](double a, double b) { return a + 2 * b; }),
       "the branch is added twice"},
      {"BranchScaled", "residual_scaled", x_attn, 0,
       residual_as([](double a, double b) { return a + 0.22 * b; }), "the branch is scaled by 0.22"},
      {"ResidualScaled", "residual_scaled", x_out, 1,
       residual_as([](double a, double b) { return 0.75 * a + b; }), "the residual is scaled by 0.75",
       "prefill"},
      {"ResidualAfterTheNorm", "residual_after_norm", x_attn, 1,
       [](const PlainSite& s) {
         return test::zipped(s.in(attn_norm), s.in(attn_out), [](double a, double b) { return a + b; });
       },
       "from attn_norm"},
      {"GateAndUpSwapped", "gate_up_swapped", act, 0,
       act_as([](double g, double u) { return test::silu(u) * g; }), "silu is applied to up", "decode"},
      {"GeluTanh", silu, act, 0, act_as([](double g, double u) {
         return 0.5 * g * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (g + 0.044715 * g * g * g))) * u;
       }),
       "GELU (tanh)"},
      {"GeluErf", silu, act, 1,
       act_as([](double g, double u) { return 0.5 * g * (1 + std::erf(g / std::numbers::sqrt2)) * u; }),
       "GELU (erf)", "prefill"},
      {"Relu", silu, act, 0, act_as([](double g, double u) { return std::max(g, 0.0) * u; }), "is ReLU"},
      {"QuickGelu", silu, act, 0,
       act_as([](double g, double u) { return g / (1 + std::exp(-1.702 * g)) * u; }), "quick GELU"},
      {"Sigmoid", silu, act, 1, act_as([](double g, double u) { return u / (1 + std::exp(-g)); }),
       "a sigmoid"},
      {"Identity", silu, act, 0, act_as([](double g, double u) { return g * u; }), "the identity", "decode"},
      {"SquaredRelu", silu, act, 0,
       act_as([](double g, double u) { return std::max(g, 0.0) * std::max(g, 0.0) * u; }), "squared ReLU"},
      {"UpOmitted", silu, act, 1, act_as([](double g, double) { return test::silu(g); }),
       "up is not multiplied"},
      {"UpAdded", silu, act, 0, act_as([](double g, double u) { return test::silu(g) + u; }), "up is added"},
  };
}

class NormMistake : public testing::TestWithParam<NamedCase> {};
TEST_P(NormMistake, IsNamed) { test::expect_named(GetParam()); }
INSTANTIATE_TEST_SUITE_P(Cases, NormMistake, testing::ValuesIn(norm_cases()), test::LabelOf());

TEST(NormMistakes, CoverEveryHypothesis) {
  test::expect_complete(norm_hypotheses(), norm_cases());
  test::expect_complete(elementwise_hypotheses(), norm_cases());
}

/// Of one row, a norm times c and one of another eps are the same numbers; rows of other sizes tell.
TEST(NormMistakes, EpsAndAScaleAreOneRowsRivals) {
  const std::vector<Mistake> eps = {{attn_norm, 0, norm_with_eps(3.3e-3)}};
  const auto cause = [&](const std::vector<std::vector<int32_t>>& prompts) {
    const Verdict verdict = test::judge_mistakes(eps, TensorType::f32, prompts);
    EXPECT_EQ(verdict.findings.size(), 1u);
    return verdict.findings.empty() ? Finding{} : verdict.findings[0];
  };
  const Finding one = cause({{5}});
  EXPECT_EQ(one.hypothesis(), "ambiguous") << test::text_of(one);
  EXPECT_THAT(std::vector({one.best, one.runner_up}),
              testing::UnorderedElementsAre("norm_eps", "output_scaled"));
  EXPECT_THAT(one.title.en, testing::HasSubstr("; or: "));
  for (const auto& prompts : {std::vector<std::vector<int32_t>>{{5}, {9}}, {{5, 9, 17}}}) {
    const Finding more = cause(prompts);
    EXPECT_EQ(more.hypothesis(), "norm_eps") << test::text_of(more);
    EXPECT_THAT(more.title.en, testing::HasSubstr("is 0.0033, not 1e-05"));
  }
}

}  // namespace
}  // namespace greta
