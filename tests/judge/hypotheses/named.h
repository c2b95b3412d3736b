#pragma once
// A hypothesis against a mistake made by hand: the plain llama makes it, judge() must name it.

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "judge/hypotheses/explain.h"
#include "judge/hypotheses/plain_llama.h"
#include "judge/judge.h"

namespace greta::test {

struct NamedCase {
  std::string label;  // of the test
  std::string hypothesis;
  Stage stage = Stage::q;
  int layer = 0;
  std::function<Row(const PlainSite& site)> wrong = {};
  std::string title = "";  // a part of it: the estimated parameters
  std::string phase = "both";
  TensorType type = TensorType::f32;
  std::function<void(std::vector<Row>& cache, const std::vector<Row>& own)> write = {};
};

inline void PrintTo(const NamedCase& c, std::ostream* out) { *out << c.label; }

/// What judge() says of a fault, for a failing test.
inline std::string text_of(const Finding& f) {
  std::string text =
      fmt::format("{} in {} L{} {}: {}, explained {}, r {}; best {}; runner-up {} {}; pattern: {}",
                  f.hypothesis(), name(f.phase), f.layer, name(f.stage), f.title.en, f.explained_residual,
                  f.hypothesis_noise_ratio, f.best, f.runner_up, f.runner_up_residual, f.pattern.en);
  return text;
}

inline std::vector<std::vector<int32_t>> two_prompts() {
  const std::vector<int32_t> tokens = random_tokens(21);
  return {tokens, {tokens.rbegin() + 2, tokens.rend() - 6}};
}

inline Verdict judge_mistakes(const std::vector<Mistake>& mistakes, TensorType type = TensorType::f32,
                              const std::vector<std::vector<int32_t>>& prompts = two_prompts()) {
  const PlainLlama& llama = plain_llama(type);
  return judge(llama.record(mistakes, prompts), llama.model());
}

/// Demands one finding: the place, the phase, the name, the parameters.
inline void expect_named(const NamedCase& c) {
  const Verdict verdict = judge_mistakes({{c.stage, c.layer, c.wrong, c.phase, c.write}}, c.type);
  std::string all;
  for (const Finding& f : verdict.findings) all += text_of(f) + "\n";
  ASSERT_EQ(verdict.findings.size(), 1u) << all;
  const Finding& found = verdict.findings[0];
  EXPECT_EQ(found.stage, c.stage) << all;
  EXPECT_EQ(found.layer, c.layer) << all;
  EXPECT_EQ(name(found.phase), c.phase) << all;
  EXPECT_EQ(found.hypothesis(), c.hypothesis) << all;
  EXPECT_THAT(found.title.en, testing::HasSubstr(c.title));
  EXPECT_FALSE(found.title.es.empty());
  EXPECT_NE(found.title.es, found.title.en);
  EXPECT_LE(found.hypothesis_noise_ratio, 1);
  EXPECT_EQ(exit_code(verdict.status), 1);
}

/// Hypotheses of what a plain llama has not: biases, soft caps, sinks, YaRN, another activation
/// (tests/e2e/architectures_isolate_test.cpp), types with high bits or small scales (hypothesis_test.cpp,
/// misread_weights_test.cpp), fused attention (gaps_test.cpp), recorded operands (seen_operands_test.cpp),
/// other rows than the cache's (tests/e2e/cases_test.cpp).
inline constexpr std::array<std::string_view, 14> kElsewhere = {
    "keys_before_rope", "cache_half",    "rope_added",      "wrong_bias",   "softcap_order",
    "attention_sink",   "swiglu_oai",    "rope_yarn",       "rope_factors", "rope_magnitude",
    "code_bits",        "scale_misread", "softmax_rescale", "operand_read"};

/// Every hypothesis of the group has a case.
inline void expect_complete(std::span<const Hypothesis> group, const std::vector<NamedCase>& cases) {
  for (const Hypothesis& hypothesis : group) {
    if (std::ranges::find(kElsewhere, hypothesis.name) != kElsewhere.end()) continue;
    EXPECT_TRUE(std::any_of(cases.begin(), cases.end(), [&](const NamedCase& c) {
      return c.hypothesis == hypothesis.name;
    })) << hypothesis.name;
  }
}

struct LabelOf {
  std::string operator()(const testing::TestParamInfo<NamedCase>& info) const { return info.param.label; }
};

}  // namespace greta::test
