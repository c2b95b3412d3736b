// A finding is proved by what its intervention removes; one that was made up is not.

#include "experiment/confirm.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include "engine/tiny_model.h"
#include "fault/fault.h"
#include "judge/judge.h"
#include "record/matrix.h"

namespace greta {
namespace {

using testing::SizeIs;

using enum Stage;

class Confirm : public testing::Test {
 protected:
  void inject(const std::vector<std::string>& faults) {
    request_.experiments = parse_experiments("E0");
    request_.prompts = {{"one", "", {5}}, {"many", "", test::random_tokens(21)}};
    request_.layers = {0, 1};
    request_.change = fault_change(tiny_.engine, parse_faults(faults, 2));
    verdict_ = judge(record_matrix(tiny_.engine, request_), tiny_.engine.model());
  }

  void confirm_all() {
    verdict_.findings = confirm(tiny_.engine, request_, verdict_.findings, nullptr,
                                [this](const std::string& label) { steps_.push_back(label); });
  }

  const Finding* find(Stage stage, int layer, const std::string& phase) const {
    for (const Finding& f : verdict_.findings) {
      if (f.stage == stage && f.layer == layer && name(f.phase) == phase) return &f;
    }
    return nullptr;
  }

  /// A finding that nothing speaks for.
  static Finding made_up(Stage stage, int layer, const std::string& phase) {
    Finding finding;
    finding.stage = stage;
    finding.layer = layer;
    finding.phase = phase == "both" ? Phases::both : phase == "decode" ? Phases::decode : Phases::prefill;
    finding.cells = {{"E0", "many"}};
    finding.cause = Cause::named;
    finding.best = "output_scaled";
    return finding;
  }

  test::TinyEngine tiny_{TensorType::q4_1};
  MatrixRequest request_;
  Verdict verdict_;
  std::vector<std::string> steps_;
};

TEST_F(Confirm, TheSeedsFaultsAreAllRemoved) {
  inject({"wq_column_major@prefill", "wk_column_major@prefill", "wv_column_major@prefill",
          "wo_column_major@prefill", "ffn_norm_eps@decode:1"});
  ASSERT_THAT(verdict_.findings, SizeIs(9));  // four in each of two layers, and the eps
  confirm_all();
  ASSERT_THAT(verdict_.findings, SizeIs(9)) << "and none is behind them";
  for (const Finding& found : verdict_.findings) {
    const std::string at = fmt::format("{} L{} {}", name(found.stage), found.layer, name(found.phase));
    ASSERT_TRUE(found.intervention) << at;
    EXPECT_TRUE(found.intervention->mismatch_removed)
        << at << " " << found.intervention->mismatch_before << " -> " << found.intervention->mismatch_after;
    EXPECT_GT(found.intervention->mismatch_before, 0) << at;
    EXPECT_EQ(found.intervention->prompt, "many") << at;
  }
  EXPECT_EQ(find(ffn_norm, 1, "decode")->hypothesis(), "norm_eps");
  // The last one leaves the phases as close as a clean engine's, which are equal bit for bit.
  EXPECT_LE(find(ffn_norm, 1, "decode")->intervention->logits_after, 1e-3);
  EXPECT_GT(find(q, 0, "prefill")->intervention->logits_before, 1e-2);
}

TEST_F(Confirm, AFaultOfBothPhasesIsRemovedFromBoth) {
  inject({"w_down_no_mins:0"});
  ASSERT_THAT(verdict_.findings, SizeIs(1));
  EXPECT_EQ(verdict_.findings[0].phase, Phases::both);
  confirm_all();
  ASSERT_THAT(verdict_.findings, SizeIs(1));
  EXPECT_TRUE(verdict_.findings[0].intervention->mismatch_removed);
  EXPECT_GT(verdict_.findings[0].intervention->mismatch_before, 1);  // noise ratios: no pair shows it
  EXPECT_LE(verdict_.findings[0].intervention->mismatch_after, 1);
}

TEST_F(Confirm, AMadeUpFindingIsNotConfirmed) {
  inject({"wq_column_major@prefill:1"});
  for (const Finding& wrong : {made_up(v, 0, "prefill"), made_up(down, 0, "both"), made_up(pv, 1, "prefill"),
                               made_up(logits, kNoLayer, "decode")}) {
    Verdict verdict = verdict_;
    verdict.findings.insert(verdict.findings.begin(), wrong);
    verdict.findings = confirm(tiny_.engine, request_, verdict.findings, nullptr, [](const std::string&) {});
    ASSERT_THAT(verdict.findings, SizeIs(2)) << name(wrong.stage);
    ASSERT_TRUE(verdict.findings[0].intervention) << name(wrong.stage);
    EXPECT_FALSE(verdict.findings[0].intervention->mismatch_removed) << name(wrong.stage);
    EXPECT_TRUE(verdict.findings[1].intervention->mismatch_removed) << name(wrong.stage);
  }
}

TEST_F(Confirm, WhatNaNHidesIsFoundBehindIt) {
  inject({"down_nan:0", "ffn_norm_eps:1"});
  EXPECT_NE(find(down, 0, "both"), nullptr);
  // Every row after it is NaN, right or wrong.
  EXPECT_EQ(find(ffn_norm, 1, "both"), nullptr);
  confirm_all();
  const Finding* hidden = find(ffn_norm, 1, "both");
  ASSERT_NE(hidden, nullptr);
  EXPECT_EQ(hidden->hypothesis(), "norm_eps");
  ASSERT_TRUE(hidden->intervention);
  EXPECT_TRUE(hidden->intervention->mismatch_removed);
  EXPECT_TRUE(find(down, 0, "both")->intervention->mismatch_removed);
}

TEST_F(Confirm, WithoutFindingsNothingIsRun) {
  inject({});
  confirm_all();
  EXPECT_THAT(verdict_.findings, SizeIs(0));
  EXPECT_THAT(steps_, SizeIs(0));
}

TEST_F(Confirm, AStepMayStopIt) {
  inject({"wq_column_major@prefill"});
  EXPECT_THROW(confirm(tiny_.engine, request_, verdict_.findings, nullptr,
                       [](const std::string&) { throw std::runtime_error("stop"); }),
               std::runtime_error);
}

}  // namespace
}  // namespace greta
