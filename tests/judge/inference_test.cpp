// Arithmetic that nobody declared: inferred where one of the vocabulary explains a kernel's recordings, and
// no cloak for mistakes. The engine is the one in plain doubles; the tolerance is the judge's own bound.

#include "judge/inference.h"

#include <fmt/format.h>

#include <cmath>

#include "base/half.h"
#include "judge/hypotheses/named.h"
#include "judge/judge.h"

namespace greta {
namespace {

using test::Mistake;
using test::PlainRun;
using test::PlainSite;
using test::Row;

using enum Stage;

float as_f16(float x) { return f16_to_f32(f32_to_f16(x)); }

/// A stage, in every layer of some phase, by another computation of its inputs.
std::vector<Mistake> everywhere(Stage stage, const std::string& phase,
                                std::function<Row(const PlainSite&)> how) {
  std::vector<Mistake> all;
  const ModelConfig& config = test::plain_llama().model().config;
  for (int layer = 0; layer < config.n_layer; ++layer) all.push_back({stage, layer, how, phase});
  return all;
}

Verdict undeclared(const std::vector<Mistake>& mistakes) {
  const test::PlainLlama& llama = test::plain_llama();
  Bundle bundle = llama.record(mistakes, test::two_prompts());
  bundle.manifest.erase("kernels");
  return judge(bundle, llama.model());
}

const KernelArithmetic* of(const Verdict& verdict, Phase phase, Stage stage) {
  for (const KernelArithmetic& kernels : verdict.arithmetic) {
    const bool has = std::find(kernels.stages.begin(), kernels.stages.end(), stage) != kernels.stages.end();
    if (kernels.phase == phase && has) return &kernels;
  }
  return nullptr;
}

TEST(Inference, AnF32EngineNeedsNone) {
  const Verdict verdict = undeclared({});
  EXPECT_TRUE(is_clean(verdict.status));
  for (const KernelArithmetic& kernels : verdict.arithmetic)
    EXPECT_NE(kernels.source, KernelArithmetic::Source::inferred) << name(kernels.stages.front());
  EXPECT_TRUE(verdict.route_differences.empty());
}

Row added(const PlainSite& site) {
  const Stage before = site.stage == x_attn ? x_in : x_attn, branch = site.stage == x_attn ? attn_out : down;
  Row row = site.in(before);
  for (size_t i = 0; i < row.size(); ++i) row[i] += site.in(branch)[i];
  return row;
}

Row scaled(Row row) {
  for (float& value : row) value *= 1.25f;
  return row;
}

TEST(Inference, AMistakeInOneLayerIsFoundWithoutDeclarations) {
  const std::pair<Stage, std::function<Row(const PlainSite&)>> mistakes[] = {
      {q, [](const PlainSite& site) { return scaled(site.times_input(site.weight())); }},
      {x_attn, [](const PlainSite& site) { return scaled(added(site)); }}};
  for (const auto& [stage, how] : mistakes) {
    const Verdict verdict = undeclared({{stage, 1, how, "decode"}});
    EXPECT_EQ(verdict.status, RunStatus::fault) << name(stage);
    ASSERT_FALSE(verdict.findings.empty()) << name(stage);
    EXPECT_EQ(verdict.findings[0].stage, stage);
    EXPECT_EQ(verdict.findings[0].layer, 1);
    EXPECT_EQ(verdict.findings[0].phase, Phases::decode);
  }
}

TEST(Inference, AnOutputInF16IsInferredAndARouteDifferenceWhereOnePhaseHasIt) {
  const auto halved = [](const PlainSite& site) {
    Row row = added(site);
    for (float& value : row) value = as_f16(value);
    return row;
  };
  std::vector<Mistake> all = everywhere(x_attn, "decode", halved);
  for (Mistake& more : everywhere(x_out, "decode", halved)) all.push_back(std::move(more));
  const Verdict verdict = undeclared(all);
  EXPECT_TRUE(is_clean(verdict.status)) << name(verdict.status);
  const KernelArithmetic* decode = of(verdict, Phase::decode, x_attn);
  ASSERT_NE(decode, nullptr);
  EXPECT_EQ(decode->source, KernelArithmetic::Source::inferred);
  ASSERT_EQ(verdict.route_differences.size(), 1u);
  EXPECT_EQ(verdict.route_differences[0].prefill, "f32");
}

/// An engine that rounds all that it gives to bf16. A lookup without a scale, and a copy, are held in bf16 by
/// their inputs alone.
std::vector<Mistake> all_in_bf16() {
  const auto in_bf16 = [](double value) { return bf16_to_f32(f32_to_bf16(static_cast<float>(value))); };
  const auto rounded = [in_bf16](const PlainSite& site) {
    if (site.stage == act) {  // silu is an op of its own
      return test::zipped(site.in(gate), site.in(up), [&](double g, double u) {
        return static_cast<double>(in_bf16(static_cast<double>(in_bf16(test::silu(g))) * u));
      });
    }
    Row row = site.right();
    for (float& value : row) value = in_bf16(static_cast<double>(value));
    return row;
  };
  std::vector<Mistake> all{{x_in, 0, rounded, "both"}};
  for (const Stage stage : {attn_norm, q, k, v, q_rope, k_rope, qk, softmax, pv, attn_out, x_attn, ffn_norm,
                            gate, up, act, down, x_out}) {
    for (Mistake& one : everywhere(stage, "both", rounded)) all.push_back(std::move(one));
  }
  return all;
}

TEST(Inference, ResultsAllHeldInBf16AreRoundedToIt) {
  const Verdict verdict = undeclared(all_in_bf16());
  std::string found;
  for (const Finding& finding : verdict.findings) found += test::text_of(finding) + "\n";
  EXPECT_TRUE(is_clean(verdict.status)) << name(verdict.status) << found;
  for (const Stage stage : {q, down, pv, q_rope, x_attn}) {
    const KernelArithmetic* kernels = of(verdict, Phase::prefill, stage);
    ASSERT_NE(kernels, nullptr);
    EXPECT_THAT(kernels->what, testing::HasSubstr("output bf16")) << name(stage);
  }
}

/// The residual sum that a norm reads, as it is in a register.
Row sum_before(const PlainSite& site) {
  const auto plus = [](double a, double b) { return a + b; };
  if (site.stage == ffn_norm) return test::zipped(site.in(x_in), site.in(attn_out), plus);
  const int before = (site.stage == final_norm ? static_cast<int>(site.config().n_layer) : site.layer) - 1;
  const auto of = [&](Stage stage) { return site.run.rows.at({before, stage}).at(site.position); };
  return before < 0 ? site.in(x_in) : test::zipped(of(x_attn), of(down), plus);
}

/// Norms that also add the residual, and read the sum before it is rounded to what is recorded of it. By that
/// sum their bound is as ever: another epsilon is found.
TEST(Inference, NormsMayReadTheSumBeforeItIsRounded) {
  const auto judged = [](double eps) {
    std::vector<Mistake> all = all_in_bf16();
    std::erase_if(all, [](const Mistake& one) { return one.stage == attn_norm || one.stage == ffn_norm; });
    const auto of_sum = [eps](const PlainSite& site) {
      Row row = test::normed(sum_before(site), site.weight(), eps);
      for (float& value : row) value = bf16_to_f32(f32_to_bf16(value));
      return row;
    };
    for (const Stage stage : {attn_norm, ffn_norm}) {
      for (Mistake& one : everywhere(stage, "both", of_sum)) all.push_back(std::move(one));
    }
    all.push_back({final_norm, kNoLayer, of_sum, "both"});
    return undeclared(all);
  };
  const Verdict verdict = judged(test::plain_llama().model().config.norm_eps);
  EXPECT_TRUE(is_clean(verdict.status)) << name(verdict.status);
  const KernelArithmetic* kernels = of(verdict, Phase::prefill, ffn_norm);
  ASSERT_NE(kernels, nullptr);
  EXPECT_THAT(kernels->what, testing::HasSubstr("sums before they are rounded"));
  EXPECT_EQ(judged(0.5).status, RunStatus::fault);
}

/// act is recorded nowhere: it is made with its layer's roundings, and down is judged over it.
TEST(Inference, AStageThatWasLeftOutIsRoundedAsItsLayerIs) {
  const test::PlainLlama& llama = test::plain_llama();
  Bundle bundle = llama.record(all_in_bf16(), test::two_prompts());
  bundle.manifest.erase("kernels");
  std::erase_if(bundle.events, [](const Event& event) { return event.stage == "act"; });
  const Verdict verdict = judge(bundle, llama.model());
  EXPECT_TRUE(is_clean(verdict.status)) << name(verdict.status);
  EXPECT_TRUE(verdict.findings.empty());
}

Verdict of_recorded(const std::vector<Mistake>& mistakes, const std::vector<Stage>& stages) {
  const test::PlainLlama& llama = test::plain_llama();
  Bundle bundle = llama.record(mistakes, test::two_prompts());
  bundle.manifest.erase("kernels");
  std::erase_if(bundle.events, [&](const Event& event) {
    return std::ranges::none_of(stages, [&](Stage stage) { return name(stage) == event.stage; });
  });
  return judge(bundle, llama.model());
}

/// Three kernels of attention that each round their results, of which only the last is recorded; and products
/// over norms and caches over keys that are not.
TEST(Inference, AFewStagesOfAnEngineInBf16AreRight) {
  for (const std::vector<Stage>& stages :
       {std::vector{x_in, q_rope, kv_write, pv, x_attn, act, x_out}, {x_in, kv_write, pv, x_out}}) {
    const Verdict verdict = of_recorded(all_in_bf16(), stages);
    EXPECT_TRUE(verdict.findings.empty()) << test::text_of(verdict.findings.front());
    EXPECT_NE(verdict.status, RunStatus::fault);
  }
}

/// Nothing explains decode's mix: it is a fault all the same, in no other place.
TEST(Inference, AFaultInAMixInBf16IsNotTakenForAnUnknownArithmetic) {
  std::vector<Mistake> mistakes = all_in_bf16();
  std::erase_if(mistakes, [](const Mistake& mistake) { return mistake.stage == pv; });
  for (const char* phase : {"prefill", "decode"}) {
    const bool wrong = phase == std::string("decode");
    for (Mistake& one : everywhere(pv, phase, [wrong](const PlainSite& site) {
           Row row = site.right();
           if (wrong) std::reverse(row.begin(), row.end());
           for (float& value : row) value = bf16_to_f32(f32_to_bf16(value));
           return row;
         }))
      mistakes.push_back(std::move(one));
  }
  const Verdict verdict = of_recorded(mistakes, {x_in, q_rope, kv_write, pv, attn_out, x_attn, act, x_out});
  ASSERT_FALSE(verdict.findings.empty());
  for (const Finding& finding : verdict.findings) {
    EXPECT_EQ(finding.stage, pv) << test::text_of(finding);
    EXPECT_EQ(name(finding.phase), "decode") << test::text_of(finding);
  }
}

Row of_f16(const PlainSite& site) {
  Row x = site.in(common_input(site.stage));
  for (float& value : x) value = as_f16(value);
  return times(site.weight(), x);
}

/// A third of a kernel's recordings is right, all others are another row's: what it rounds its operands to is
/// told by the third, which is no fault. (An engine that leaves out a layer has all later ones so.)
TEST(Inference, TwoRightStagesTellTheArithmeticOfAClassThatIsElseWrong) {
  const std::vector<std::vector<int32_t>> prompts{
      {3, 1, 4, 1, 5}, {9, 2, 6, 5, 3, 5, 8}, {9, 7, 9, 3, 2, 3, 8, 4}};
  std::vector<Mistake> mistakes;
  for (const Stage stage : {q, k, v, attn_out, gate, up, down}) {
    for (Mistake& one : everywhere(stage, "both", [](const PlainSite& site) {
           Row row = of_f16(site);
           if (site.layer > 0 || site.run.n_pos() == 5) std::reverse(row.begin(), row.end());
           return row;
         }))
      mistakes.push_back(std::move(one));
  }
  const test::PlainLlama& llama = test::plain_llama();
  Bundle bundle = llama.record(mistakes, prompts);
  bundle.manifest.erase("kernels");
  const Verdict verdict = judge(bundle, llama.model());
  for (const Phase phase : {Phase::prefill, Phase::decode}) {
    const KernelArithmetic* kernels = of(verdict, phase, gate);
    ASSERT_NE(kernels, nullptr);
    EXPECT_EQ(kernels->source, KernelArithmetic::Source::inferred);
    EXPECT_THAT(kernels->what, ::testing::HasSubstr("f16"));
  }
  ASSERT_FALSE(verdict.findings.empty());
  for (const Finding& finding : verdict.findings) {
    for (const CellKey& cell : finding.cells)
      EXPECT_TRUE(finding.layer == 1 || cell.prompt == "p0") << test::text_of(finding);
    EXPECT_NE(finding.hypothesis(), "undeclared_rounding");
  }
}

/// Some of an engine's products round their operands and some do not: kernels are chosen by shape.
TEST(Inference, AFinerKernelInACoarserClassIsNoFault) {
  std::vector<Mistake> all;
  for (const Stage stage : {q, k, v, gate, up, down}) {
    for (Mistake& one : everywhere(stage, "both", of_f16)) all.push_back(std::move(one));
  }
  const Verdict verdict = undeclared(all);
  EXPECT_TRUE(is_clean(verdict.status)) << name(verdict.status);
  EXPECT_EQ(of(verdict, Phase::decode, q)->what, "operands f16");
  EXPECT_EQ(of(verdict, Phase::decode, attn_out)->what, "f32");
}

/// Attention as ggml's CPU kernel does it for one row: online, in f16 or in f32 (ggml-cpu/ops.cpp).
struct Flash {
  bool half = false;       // queries and sums of values
  double scale = 1;        // times the model's
  int64_t leaves_out = 0;  // of the last positions
};

Row flash_attention(const PlainSite& site, const Flash& how) {
  const auto rounded = [&](float x) { return how.half ? as_f16(x) : x; };
  const ModelConfig& config = site.config();
  const auto dim = static_cast<size_t>(config.head_dim),
             group = static_cast<size_t>(config.n_head / config.n_head_kv);
  const auto kv_dim = dim * static_cast<size_t>(config.n_head_kv);
  const Row& q = site.in(q_rope);
  Row out(q.size());
  for (size_t head = 0; head * dim < q.size(); ++head) {
    float most = -INFINITY, sum = 0;
    Row mix(dim);
    for (int64_t p = 0; p <= site.position - (site.position > 4 ? how.leaves_out : 0); ++p) {
      const Row& cached = site.cache(site.layer)[static_cast<size_t>(p)];
      const size_t at = head / group * dim;
      float score = 0;
      for (size_t d = 0; d < dim; ++d) score += rounded(q[head * dim + d]) * cached[at + d];
      score *= static_cast<float>(config.attention_scale * how.scale);
      const float larger = std::max(most, score), shrink = std::exp(most - larger);
      const float weight = std::exp(score - larger);
      for (size_t d = 0; d < dim; ++d)
        mix[d] = rounded(std::fma(weight, cached[kv_dim + at + d], rounded(mix[d] * shrink)));
      sum = sum * shrink + weight;
      most = larger;
    }
    for (size_t d = 0; d < dim; ++d) out[head * dim + d] = mix[d] / sum;
  }
  return out;
}

/// Neither scores nor weights are recorded, and nothing is declared.
Verdict with_flash_attention(const std::vector<Mistake>& mistakes) {
  const test::PlainLlama& llama = test::plain_llama();
  Bundle bundle = llama.record(mistakes, test::two_prompts());
  bundle.manifest.erase("kernels");
  std::erase_if(bundle.events,
                [](const Event& event) { return event.stage == "qk" || event.stage == "softmax"; });
  return judge(bundle, llama.model());
}

std::vector<Mistake> flash_everywhere(const std::string& phase, const Flash& how) {
  return everywhere(pv, phase, [how](const PlainSite& site) { return flash_attention(site, how); });
}

TEST(FlashAttention, InF32NeedsNoInference) {
  const Verdict verdict = with_flash_attention(flash_everywhere("both", {}));
  EXPECT_TRUE(is_clean(verdict.status)) << name(verdict.status);
  EXPECT_TRUE(verdict.route_differences.empty());
  const KernelArithmetic* decode = of(verdict, Phase::decode, pv);
  ASSERT_NE(decode, nullptr);
  EXPECT_NE(decode->source, KernelArithmetic::Source::inferred);
}

TEST(FlashAttention, InF16OfOnePhaseIsARouteDifferenceAndNoFault) {
  const Verdict verdict = with_flash_attention(flash_everywhere("decode", {.half = true}));
  EXPECT_TRUE(is_clean(verdict.status)) << name(verdict.status);
  ASSERT_EQ(verdict.route_differences.size(), 1u);
  EXPECT_EQ(verdict.route_differences[0].stages, std::vector<Stage>{pv});
  EXPECT_EQ(verdict.route_differences[0].prefill, "f32");
  EXPECT_EQ(verdict.route_differences[0].decode, "operands f16, sums f16");
}

TEST(FlashAttention, AMistakeInOneLayerIsFoundBesideItsArithmetic) {
  for (const Flash how :
       {Flash{.half = true, .scale = 1.25}, Flash{.half = true, .leaves_out = 1}, Flash{.scale = 0.8}}) {
    std::vector<Mistake> all = flash_everywhere("decode", {.half = how.half});
    std::erase_if(all, [](const Mistake& mistake) { return mistake.layer == 1; });
    all.push_back({pv, 1, [how](const PlainSite& site) { return flash_attention(site, how); }, "decode"});
    const Verdict verdict = with_flash_attention(all);
    EXPECT_EQ(verdict.status, RunStatus::fault) << how.scale;
    ASSERT_EQ(verdict.findings.size(), 1u) << how.scale;
    EXPECT_EQ(verdict.findings[0].stage, pv);
    EXPECT_EQ(verdict.findings[0].layer, 1);
    EXPECT_EQ(verdict.findings[0].phase, Phases::decode);
  }
}

/// Wrong wherever it runs, it hides its arithmetic; the cause and the arithmetic are found together.
TEST(FlashAttention, AMistakeInEveryLayerIsNamedWithItsArithmetic) {
  const Verdict verdict = with_flash_attention(flash_everywhere("both", {.half = true, .scale = 1.01}));
  EXPECT_EQ(verdict.status, RunStatus::fault);
  ASSERT_FALSE(verdict.findings.empty());
  for (const Finding& finding : verdict.findings) {
    EXPECT_EQ(finding.hypothesis(), "softmax_scale") << test::text_of(finding);
    EXPECT_LE(finding.hypothesis_noise_ratio, 1);
    EXPECT_THAT(finding.by_arithmetic, testing::HasSubstr("f16"));
  }
}

TEST(FlashAttention, OneKernelReadsTheWrongHeadsForKeysAndValues) {
  const auto next_head = [](const PlainSite& site) {
    PlainSite::Reading how;
    how.kv_head = [&](size_t head) {
      const auto kv = static_cast<size_t>(site.config().n_head_kv);
      return (head / (static_cast<size_t>(site.config().n_head) / kv) + 1) % kv;
    };
    PlainSite scores{site.run, qk, site.layer, site.position};
    const Row s = scores.scores(how);
    Row weights(s.size());
    const auto n = static_cast<size_t>(site.run.n_pos());
    for (size_t begin = 0; begin < s.size(); begin += n) {
      double sum = 0;
      for (size_t i = begin; i < begin + n; ++i) sum += std::exp(static_cast<double>(s[i]));
      for (size_t i = begin; i < begin + n; ++i)
        weights[i] = static_cast<float>(std::exp(static_cast<double>(s[i])) / sum);
    }
    PlainRun own = site.run;
    own.rows[{site.layer, softmax}][site.position] = weights;
    return PlainSite{own, pv, site.layer, site.position}.values(how);
  };
  const Verdict verdict = with_flash_attention(everywhere(pv, "decode", next_head));
  ASSERT_FALSE(verdict.findings.empty());
  for (const Finding& finding : verdict.findings) {
    EXPECT_EQ(finding.hypothesis(), "head_map") << test::text_of(finding);
    EXPECT_EQ(finding.title.en, "every head reads the next KV head");
  }
}

/// What `wrong` makes of one stage of layer 0 in decode, of one prompt: a single wrong row.
Finding in_one_row(Stage stage, const std::function<Row(const PlainSite&)>& wrong) {
  const test::PlainLlama& llama = test::plain_llama();
  const auto prompts = test::two_prompts();
  const Verdict verdict = judge(
      llama.record({{stage, 0, wrong, "decode"}}, {prompts.begin(), prompts.begin() + 1}), llama.model());
  EXPECT_EQ(verdict.findings.size(), 1u);
  return verdict.findings.empty() ? Finding{} : verdict.findings[0];
}

TEST(Undeclared, OneRowNamesNoConstantUnlessItsHeadsAgree) {
  const Finding scaled = in_one_row(Stage::down, [](const PlainSite& site) {
    Row y = times(site.weight(), site.in(common_input(site.stage)));
    for (float& value : y) value *= 0.75f;
    return y;
  });
  EXPECT_EQ(scaled.cause, Cause::unexplained) << test::text_of(scaled);
  EXPECT_EQ(scaled.best, "output_scaled");
  EXPECT_EQ(scaled.held_up, HeldUp::no_other_row);
  const Finding scores = in_one_row(Stage::qk, [](const PlainSite& site) {
    Row s = site.scores({});
    for (float& score : s) score *= 1.0625f;
    return s;
  });
  EXPECT_EQ(scores.hypothesis(), "softmax_scale") << test::text_of(scores);
  EXPECT_EQ(scores.held_up, HeldUp::yes);
}

/// Keys of a slot that is one too late, rounded as nothing declares: the cause is tried with every arithmetic
/// whose rotation of the cache fits its heads, which no size of llama.cpp's does here.
TEST(Undeclared, ACacheWrongEverywhereIsTriedWithWhatFits) {
  const auto late = [](std::vector<Row>& cache, const std::vector<Row>& own) {
    for (size_t r = 0; r < own.size(); ++r) {
      Row row = own[r == 0 ? own.size() - 1 : r - 1];
      for (float& value : row) value = as_f16(value);
      cache[cache.size() - own.size() + r] = row;
    }
  };
  std::vector<Mistake> all;
  for (const int layer : {0, 1}) all.push_back({Stage::kv_write, layer, {}, "prefill", late});
  const test::PlainLlama& llama = test::plain_llama();
  Bundle bundle = llama.record(all, test::two_prompts());
  bundle.manifest.erase("kernels");
  const Verdict verdict = judge(bundle, llama.model());
  EXPECT_EQ(verdict.status, RunStatus::fault);
  ASSERT_FALSE(verdict.findings.empty());
  EXPECT_EQ(verdict.findings[0].stage, Stage::kv_write);
}

/// A product of operands of six bits: no arithmetic of the vocabulary.
Row of_six_bits(const PlainSite& site) {
  Row x = site.in(common_input(site.stage));
  for (float& value : x) {
    int exponent = 0;
    const float mantissa = std::frexp(value, &exponent);
    value = std::ldexp(std::round(64 * mantissa) / 64, exponent);
  }
  return times(site.weight(), x);
}

std::vector<Mistake> in_all_products(const std::string& phase) {
  std::vector<Mistake> all;
  for (const Stage stage : {q, k, v, attn_out, gate, up, down}) {
    for (Mistake& mistake : everywhere(stage, phase, of_six_bits)) all.push_back(std::move(mistake));
  }
  all.push_back({logits, kNoLayer, of_six_bits, phase});
  return all;
}

TEST(Undeclared, WhatIsOffAlikeEverywhereByALittleIsNoFault) {
  const Verdict verdict = undeclared(in_all_products("both"));
  std::string found;
  for (const Finding& finding : verdict.findings)
    found += fmt::format("{} L{} {} {}; ", name(finding.stage), finding.layer, name(finding.phase),
                         finding.hypothesis());
  EXPECT_EQ(verdict.status, RunStatus::undeclared_arithmetic) << found;
  EXPECT_TRUE(verdict.findings.empty());
  ASSERT_FALSE(verdict.flags.empty());
  EXPECT_EQ(verdict.flags[0].kind, FlagKind::undeclared_arithmetic);
}

TEST(Undeclared, InOnePhaseItIsAFault) {
  EXPECT_EQ(undeclared(in_all_products("decode")).status, RunStatus::fault);
}

TEST(Undeclared, BesideADeclarationItIsAFault) {
  const test::PlainLlama& llama = test::plain_llama();
  EXPECT_EQ(judge(llama.record(in_all_products("both"), test::two_prompts()), llama.model()).status,
            RunStatus::fault);
}

}  // namespace
}  // namespace greta
