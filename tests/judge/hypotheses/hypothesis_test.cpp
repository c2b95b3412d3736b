// A hypothesis must name what an engine really did. The engine runs a model file that differs from the one
// that judges: its real kernels then make the mistake, and no code is shared with the hypothesis.

#include <gmock/gmock.h>

#include <cstring>

#include "engine/tiny_model.h"
#include "judge/hypotheses/explain.h"
#include "judge/judge.h"
#include "model/gguf.h"
#include "record/matrix.h"

namespace greta {
namespace {

using testing::HasSubstr;

/// Runs the engine on `wrong` and judges it by `right`.
Verdict judge_other_model(const test::Bytes& wrong, const test::Bytes& right) {
  Engine engine(bind_model(parse_gguf(std::as_bytes(std::span(wrong)), "wrong.gguf")),
                {1, best_isa(), Format::f32});
  MatrixRequest request;
  request.experiments = parse_experiments("E0");
  request.prompts = {{"many", "", test::random_tokens(21)}};
  request.layers = {0, 1};
  return judge(record_matrix(engine, request),
               bind_model(parse_gguf(std::as_bytes(std::span(right)), "right.gguf")));
}

/// The bytes of a tensor inside a GGUF file.
std::span<char> tensor_bytes(test::Bytes& file, const std::string& name) {
  const ModelFile parsed = parse_gguf(std::as_bytes(std::span(file)), "tiny");
  const std::span<const std::byte> data = parsed.find_tensor(name)->data;
  return {file.data() + (data.data() - reinterpret_cast<const std::byte*>(file.data())), data.size()};
}

void swap_tensors(test::Bytes& file, const std::string& a, const std::string& b) {
  const std::span<char> x = tensor_bytes(file, a), y = tensor_bytes(file, b);
  std::swap_ranges(x.begin(), x.end(), y.begin());
}

/// Replaces an f32 metadata value in place.
void patch_float(test::Bytes& file, const std::string& key, float value) {
  const size_t at = file.find(key) + key.size() + 4;  // past the value's type
  std::memcpy(&file[at], &value, 4);
}

const Finding& finding(const Verdict& verdict, Stage stage, int layer) {
  for (const Finding& f : verdict.findings) {
    if (f.stage == stage && f.layer == layer) return f;
  }
  throw std::runtime_error("no such finding");
}

class NamesTheCause : public testing::TestWithParam<TensorType> {
 protected:
  const test::Bytes right_ = test::random_llama(GetParam());
  test::Bytes wrong_ = right_;
};

INSTANTIATE_TEST_SUITE_P(Types, NamesTheCause, testing::Values(TensorType::q4_1, TensorType::f32),
                         [](const auto& type) { return std::string(name(type.param)); });

TEST_P(NamesTheCause, OfAnotherEpsAndEstimatesIt) {
  patch_float(wrong_, "llama.attention.layer_norm_rms_epsilon", 3e-3f);
  const Verdict verdict = judge_other_model(wrong_, right_);
  for (const Stage stage : {Stage::attn_norm, Stage::ffn_norm}) {
    const Finding& found = finding(verdict, stage, 1);
    EXPECT_EQ(found.hypothesis(), "norm_eps")
        << found.title.en << " " << found.explained_residual << " " << found.hypothesis_noise_ratio << " "
        << found.runner_up << " " << found.runner_up_residual << " " << found.pattern.en;
    EXPECT_EQ(found.phase, Phases::both);
    EXPECT_GT(found.explained_residual, 0.999);
    EXPECT_THAT(found.title.en, HasSubstr("is 0.003, not 1e-05"));
  }
  EXPECT_EQ(verdict.findings.size(), 2u * 2 + 1) << "every norm, and nothing else";
}

TEST_P(NamesTheCause, OfAnotherRopeBase) {
  patch_float(wrong_, "llama.rope.freq_base", 500000.0f);
  const Verdict verdict = judge_other_model(wrong_, right_);
  EXPECT_EQ(finding(verdict, Stage::q_rope, 0).hypothesis(), "rope_base");
  EXPECT_THAT(finding(verdict, Stage::k_rope, 1).title.en, HasSubstr("500000, not 10000"));
  EXPECT_EQ(verdict.findings.size(), 4u);
}

TEST_P(NamesTheCause, OfSwappedWeights) {
  swap_tensors(wrong_, "blk.1.attn_k.weight", "blk.1.attn_v.weight");
  swap_tensors(wrong_, "blk.0.ffn_gate.weight", "blk.0.ffn_up.weight");
  const Verdict verdict = judge_other_model(wrong_, right_);
  EXPECT_EQ(finding(verdict, Stage::k, 1).hypothesis(), "swapped_weight");
  EXPECT_EQ(finding(verdict, Stage::k, 1).title.en, "Wv is used in the place of Wk");
  EXPECT_EQ(finding(verdict, Stage::up, 0).title.en, "Wgate is used in the place of Wup");
  EXPECT_EQ(verdict.findings.size(), 4u);
}

TEST_P(NamesTheCause, OfAnotherLayersWeight) {
  swap_tensors(wrong_, "blk.0.ffn_down.weight", "blk.1.ffn_down.weight");
  const Verdict verdict = judge_other_model(wrong_, right_);
  EXPECT_EQ(finding(verdict, Stage::down, 0).hypothesis(), "wrong_layer_weight");
  EXPECT_EQ(finding(verdict, Stage::down, 1).title.en, "Wdown of layer 0 is used in layer 1");
}

TEST_P(NamesTheCause, OfRowsInTheOtherRopeOrder) {
  const std::span<char> rows = tensor_bytes(wrong_, "blk.0.attn_q.weight");
  const size_t row = rows.size() / 64;  // 4 heads of 16 rows
  const test::Bytes before(rows.begin(), rows.end());
  for (size_t i = 0; i < 64; ++i) {
    const size_t head = i / 16 * 16, d = i % 16;
    std::copy_n(&before[i * row], row,
                rows.begin() + static_cast<std::ptrdiff_t>((head + d % 8 * 2 + d / 8) * row));
  }
  const Verdict verdict = judge_other_model(wrong_, right_);
  EXPECT_EQ(finding(verdict, Stage::q, 0).hypothesis(), "rope_row_order");
  EXPECT_EQ(verdict.findings.size(), 1u);
}

TEST_P(NamesTheCause, OrSaysThatItIsUnexplained) {
  const std::span<char> rows = tensor_bytes(wrong_, "blk.0.attn_q.weight");
  std::reverse(rows.begin(),
               rows.end() - static_cast<std::ptrdiff_t>(rows.size() / 2));  // noise, to any reader
  const Verdict verdict = judge_other_model(wrong_, right_);
  EXPECT_EQ(finding(verdict, Stage::q, 0).hypothesis(), "unexplained");
  EXPECT_THAT(finding(verdict, Stage::q, 0).title.en, HasSubstr("not explained by rounding"));
}

TEST(NamesTheHighBits, OfCodesThatAreDropped) {
  const test::Bytes right = test::random_llama(TensorType::q5_0);
  test::Bytes wrong = right;
  const std::span<char> blocks = tensor_bytes(wrong, "blk.0.ffn_down.weight");
  for (size_t at = 0; at < blocks.size(); at += 22) std::fill_n(&blocks[at + 2], 4, '\0');
  const Verdict verdict = judge_other_model(wrong, right);
  EXPECT_EQ(finding(verdict, Stage::down, 0).hypothesis(), "code_bits");
  EXPECT_EQ(finding(verdict, Stage::down, 0).title.en, "the high bits of Wdown's codes are dropped");
  EXPECT_EQ(verdict.findings.size(), 1u);
}

TEST(NameCause, RivalsWithinTheMarginAreAmbiguous) {
  const std::vector<Explanation> rivals = {{hypotheses()[0], {"one", "uno"}, 0.9995, 0.3},
                                           {hypotheses()[1], {"two", "dos"}, 0.9990, 0.4}};
  Finding finding;
  name_cause(rivals, finding);
  EXPECT_EQ(finding.hypothesis(), "ambiguous");
  EXPECT_EQ(finding.title.en, "one; or: two");
  EXPECT_EQ(finding.runner_up, hypotheses()[1]->name);
}

TEST(NameCause, WhatComesCloseIsNoName) {
  const std::vector<Explanation> close = {{hypotheses()[0], {"one", "uno"}, 0.99999, 1.001}};
  Finding finding;
  name_cause(close, finding);
  EXPECT_EQ(finding.hypothesis(), "unexplained");
  EXPECT_EQ(finding.nearest.en, "one");
}

TEST(NameCause, WhatWasEstimatedMustHoldElsewhere) {
  for (const HeldUp held_up : {HeldUp::no, HeldUp::no_other_row, HeldUp::yes}) {
    const std::vector<Explanation> fitted = {{.hypothesis = hypotheses()[0],
                                              .title = {"one", "uno"},
                                              .explained_residual = 0.99999,
                                              .noise_ratio = 0.5,
                                              .fitted = 1,
                                              .held_up = held_up}};
    Finding finding;
    name_cause(fitted, finding);
    EXPECT_EQ(finding.cause == Cause::named, held_up == HeldUp::yes) << name(held_up);
  }
}

TEST(NameCause, WhatReproducesTheOutputBeatsWhatComesClose) {
  const std::vector<Explanation> explanations = {{hypotheses()[0], {"one", "uno"}, 0.9995, 0.5},
                                                 {hypotheses()[1], {"two", "dos"}, 0.9990, 4}};
  Finding finding;
  name_cause(explanations, finding);
  EXPECT_EQ(finding.hypothesis(), hypotheses()[0]->name);
}

}  // namespace
}  // namespace greta
