#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "report/report.h"
#include "report/sample_verdict.h"

namespace greta::report {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string english(const Verdict& verdict) { return markdown(verdict, Language::english); }
std::string spanish(const Verdict& verdict) { return markdown(verdict, Language::spanish); }

/// diagnosed_verdict() with one finding, changed.
template <class Change>
Verdict changed(Change change) {
  Verdict verdict = diagnosed_verdict();
  verdict.findings.resize(1);
  change(verdict.findings[0]);
  return verdict;
}

TEST(FindingNote, SaysTheSmallestRunThatShowsIt) {
  Verdict verdict = diagnosed_verdict();
  EXPECT_THAT(english(verdict),
              HasSubstr("Smallest run that shows it: `greta isolate -m SmolLM2-135M-Instruct.Q4_1.gguf "
                        "--experiments E0 --prompts p4_sys --layers 0 --inject 'wq_column_major@prefill,S>1' "
                        "--quick --out small`"));
  verdict.command_line = "greta diagnose bundle";  // another engine's: GRETA cannot run it
  EXPECT_THAT(english(verdict), Not(HasSubstr("Smallest run")));
}

TEST(FindingNote, NamesTheCauseAndWhatSpeaksForIt) {
  const Verdict verdict = diagnosed_verdict();
  EXPECT_THAT(
      english(verdict),
      AllOf(HasSubstr("1. **layers 0-1, stage q, phase prefill**"), HasSubstr("explained residual 0.99950)"),
            HasSubstr("reproduces the output within rounding (noise ratio 0.9)"),
            HasSubstr("Runner-up: wrong_layer_weight (0.60)."),
            HasSubstr("ruled out (explained residual): swapped_weight (0.40), output_scaled (0.30), "
                      "rope_row_order (0.20), 2 other hypotheses below 50 %."),
            HasSubstr("all 2 stages judged in prefill are within rounding"),
            HasSubstr("(attn_norm) is within rounding (noise ratio 0.25)"),
            HasSubstr("Wrong are: heads 2 of 9."), HasSubstr("prefill 1.23e+04, decode 0.3."),
            HasSubstr("with the oracle's q in prefill (layer 0, p4_sys) the mismatch of the stage goes from "
                      "0.96 to 0.0021, of the logits from 0.37 to 0.11: confirmed."),
            HasSubstr("in 2 of the 2 places"), HasSubstr("--verify-weights")));
  EXPECT_THAT(
      spanish(verdict),
      AllOf(HasSubstr("dentro del redondeo (razón de ruido 0.9)"),
            HasSubstr("Segunda hipótesis: wrong_layer"), HasSubstr("otras 2 hipótesis por debajo del 50 %"),
            HasSubstr("las 2 etapas juzgadas"), HasSubstr("Son incorrectos: cabezas 2 de 9."),
            HasSubstr("q del oráculo en el prefill"), HasSubstr(": confirmado."),
            HasSubstr("en 2 de los 2 lugares"), HasSubstr("Dónde mirar")));
}

/// A bug in a kernel is one finding, in all stages that it makes.
TEST(FindingNote, JoinsTheStagesOfOneCause) {
  Verdict verdict = diagnosed_verdict();
  for (Finding& finding : verdict.findings) {
    finding.kernels = {"gemm"};
    finding.scope = Factor{{Stage::q, Stage::k}, {"S"}, {{"> 1"}}, 4, 20};
  }
  for (int layer = 0; layer < 2; ++layer) {
    verdict.findings.push_back(verdict.findings[static_cast<size_t>(layer)]);
    verdict.findings.back().stage = Stage::k;
    verdict.findings.back().intervention.reset();
  }
  verdict.factors = {*verdict.findings[0].scope};
  EXPECT_THAT(english(verdict),
              AllOf(HasSubstr("1. **layers 0-1, stages q, k, phase prefill**"), Not(HasSubstr("\n2. **")),
                    HasSubstr("First fault: layer 0, stage q, phase prefill."),
                    HasSubstr("The same explains k."), HasSubstr("All of these are made by gemm."),
                    HasSubstr("q, k is wrong in all 4 recordings with (S > 1); all 20 others")));
  EXPECT_THAT(spanish(verdict),
              AllOf(HasSubstr("**capas 0-1, etapas q, k, fase prefill**"), HasSubstr("Lo mismo explica k."),
                    HasSubstr("Todas ellas las hace gemm.")));
  verdict.findings.back().stage = Stage::attn_out;  // in layer 1 only
  EXPECT_THAT(
      english(verdict),
      HasSubstr("**stage q of layers 0-1, stage k of layer 0, stage attn_out of layer 1, phase prefill**"));
  const nlohmann::json json = to_json(verdict);
  EXPECT_EQ(json["causes"].size(), 1);
  EXPECT_EQ(json["causes"][0]["findings"], (std::vector<size_t>{0, 1, 2, 3}));
  EXPECT_EQ(json["findings"][0]["scope"]["attributes"], std::vector<std::string>{"S"});
}

/// What is not reproduced has no name, however near something comes.
TEST(FindingNote, SaysWhatItResemblesAndWhatThatLeaves) {
  const Verdict verdict = changed([](Finding& finding) {
    finding.cause = Cause::unexplained;
    finding.nearest = {"Wq is read sideways", "Wq se lee de lado"};
    finding.explained_residual = 0.996;
    finding.hypothesis_noise_ratio = 42;
  });
  EXPECT_THAT(english(verdict),
              AllOf(HasSubstr("It resembles this: Wq is read sideways (weight_column_major); that explains "
                              "0.99600 of the residual and leaves errors of up to 42 times"),
                    Not(HasSubstr("Mend this"))));
  EXPECT_THAT(spanish(verdict), HasSubstr("Se parece a esto: Wq se lee de lado"));
}

TEST(FindingNote, SaysWhyWhatWasEstimatedIsNoName) {
  for (const HeldUp held_up : {HeldUp::no_other_row, HeldUp::no}) {
    const Verdict verdict = changed([&](Finding& finding) {
      finding.cause = Cause::unexplained;
      finding.held_up = held_up;
      finding.nearest = {"times 0.99", "por 0.99"};
    });
    const bool alone = held_up == HeldUp::no_other_row;
    EXPECT_THAT(english(verdict), AllOf(HasSubstr("not named"), HasSubstr("times 0.99"),
                                        HasSubstr(alone ? "the only row" : "held out")));
    EXPECT_THAT(spanish(verdict), AllOf(HasSubstr("sin nombre"), HasSubstr("por 0.99"),
                                        HasSubstr(alone ? "la única fila" : "se apartó")));
  }
}

TEST(FindingNote, SaysThatWhatWasEstimatedHeldUp) {
  EXPECT_THAT(english(changed([](Finding&) {})), Not(HasSubstr("estimated from other rows")));
  const Verdict verdict = changed([](Finding& finding) { finding.held_up = HeldUp::yes; });
  EXPECT_THAT(english(verdict), HasSubstr("estimated from other rows"));
  EXPECT_THAT(spanish(verdict), HasSubstr("se estimó con filas distintas"));
}

TEST(FindingNote, SaysByWhichArithmeticItWasTriedWhereNoneIsKnown) {
  EXPECT_THAT(english(changed([](Finding&) {})), Not(HasSubstr("It was tried with")));
  const Verdict verdict = changed([](Finding& finding) { finding.by_arithmetic = "sums f16 in decode"; });
  EXPECT_THAT(english(verdict), HasSubstr("It was tried with sums f16 in decode"));
  EXPECT_THAT(spanish(verdict), HasSubstr("Se ha probado con sums f16 in decode"));
}

TEST(FindingNote, ShowsOnWhichSideOfTheBoundARatioIs) {
  Verdict verdict = changed([](Finding& finding) { finding.hypothesis_noise_ratio = 0.99991; });
  EXPECT_THAT(english(verdict), HasSubstr("within rounding (noise ratio 0.9999)"));
  verdict.findings[0].cause = Cause::unexplained;
  verdict.findings[0].hypothesis_noise_ratio = 1.0004;
  EXPECT_THAT(english(verdict), HasSubstr("up to 1.0004 times"));
}

TEST(FindingNote, OfAmbiguousNamesBothAndWhatSeparatesThem) {
  const Verdict verdict = changed([](Finding& finding) {
    finding.cause = Cause::ambiguous;
    finding.title.en = "one; or: the other";
    finding.title.es = "uno; o bien: el otro";
    finding.runner_up_residual = 0.9998;
  });
  EXPECT_THAT(english(verdict),
              AllOf(HasSubstr("one; or: the other (hypotheses weight_column_major, explained "
                              "residual 0.99999, and wrong_layer_weight, 0.99980)"),
                    HasSubstr("would separate the two"), HasSubstr("separates the rival"),
                    Not(HasSubstr("Mend this first"))));
  EXPECT_THAT(spanish(verdict), AllOf(HasSubstr("uno; o bien: el otro"), HasSubstr("distinguirían")));
}

TEST(FindingNote, OfUnexplainedIsHonest) {
  Verdict verdict = changed([](Finding& finding) {
    finding.cause = Cause::unexplained;
    finding.explained_residual = 0.31;
  });
  EXPECT_THAT(english(verdict), AllOf(HasSubstr("None of the 7 hypotheses tried reproduces the output within "
                                                "rounding"),
                                      HasSubstr("The best, weight_column_major, explains 0.31"),
                                      HasSubstr("Wrong are: heads 2 of 9"), Not(HasSubstr("Mend this"))));
  EXPECT_THAT(spanish(verdict), HasSubstr("Ninguna de las 7 hipótesis probadas"));
  verdict.findings[0].pattern.en = "";
  EXPECT_THAT(english(verdict), HasSubstr("Wrong are all rows that were judged"));
}

TEST(FindingNote, OfAGapNamesTheSpan) {
  const Verdict verdict = changed([](Finding& finding) {
    finding.stage = Stage::q_rope;
    finding.gap = {Stage::q};
  });
  EXPECT_THAT(english(verdict), AllOf(HasSubstr("Between attn_norm and q_rope: q was not recorded"),
                                      Not(HasSubstr("The fault starts here"))));
  EXPECT_THAT(spanish(verdict), HasSubstr("Entre attn_norm y q_rope: q no se registró"));
}

TEST(FindingNote, OfALaterFaultDoesNotCallItsInputsClean) {
  Verdict verdict = diagnosed_verdict();
  for (StageNoise& noise : verdict.noise) {
    if (noise.stage == Stage::attn_norm) noise.ratio = 5;
  }
  EXPECT_THAT(english(verdict),
              AllOf(HasSubstr("Its input (attn_norm) is wrong too"), Not(HasSubstr("The fault starts here")),
                    Not(HasSubstr("Before it, all"))));
  EXPECT_THAT(spanish(verdict), HasSubstr("Su entrada (attn_norm) también es incorrecta"));
}

TEST(FindingNote, OfAGroupShowsTheInterventionThatFailed) {
  Verdict verdict = diagnosed_verdict();
  verdict.findings[1].intervention = {false, 0.5, 0.4, 0.3, 0.2, "p4_sys"};
  verdict.findings[1].pattern.en = "heads 3 of 9";
  EXPECT_THAT(english(verdict),
              AllOf(HasSubstr("(layer 1, p4_sys)"), HasSubstr("from 0.5 to 0.4"),
                    HasSubstr(": not confirmed."), HasSubstr("in 1 of the 2 places"),
                    HasSubstr("differs from place to place"), Not(HasSubstr("heads 2 of"))));
  EXPECT_THAT(spanish(verdict), AllOf(HasSubstr(": no confirmado."), HasSubstr("varía según el lugar")));
}

TEST(FindingNote, OnTheTerminalIsBrief) {
  const std::string text = terminal(diagnosed_verdict(), false);
  EXPECT_THAT(text,
              AllOf(HasSubstr("explained\n     residual 0.99950"), HasSubstr("Runner-up: wrong_layer_weight"),
                    HasSubstr("confirmed."), HasSubstr("Wrong are: heads 2 of 9."),
                    HasSubstr("\nNext step: Mend this first: Wq is read column-major"),
                    Not(HasSubstr("Also ruled out")), Not(HasSubstr("Where to look"))));
}

TEST(NormTable, ComparesThePhasesInputOfTheProjections) {
  Verdict verdict = clean_verdict();
  EXPECT_THAT(b3_31_analysis(verdict), Not(HasSubstr("B3.32")));
  for (Cell& cell : verdict.cells)
    cell.attn_norm_hash_prefill = cell.attn_norm_hash_decode = "xxh3-128:00112233445566778899aabbccddeeff";
  verdict.cells[1].attn_norm_hash_decode = "xxh3-128:ffeeddcc445566778899aabbccddeeff";
  verdict.cells[1].attn_norm_mae = 0.25;
  EXPECT_THAT(b3_31_analysis(verdict),
              AllOf(HasSubstr("B3.32: attn_norm of prefill_last against decode0"),
                    HasSubstr("| E0 | p0_short | 0.00000e+00 | 00112233 | 00112233 | yes |"),
                    HasSubstr("| E0 | p4_sys | 2.50000e-01 | 00112233 | ffeeddcc | no |")));
  EXPECT_THAT(spanish(verdict), HasSubstr("| 00112233 | ffeeddcc | no |"));
}

TEST(NormTable, IsFollowedByTheAuditOfANormAtFault) {
  Verdict verdict = changed([](Finding& finding) {
    finding.stage = Stage::attn_norm;
    finding.cause = Cause::named;
    finding.best = "norm_eps";
    finding.ruled_out = {{"norm_plus_one", 0.25}, {"output_scaled", 0.5}, {"norm_omitted", -3}};
  });
  EXPECT_THAT(b3_31_analysis(verdict),
              AllOf(HasSubstr("RMSNorm audit: layer 0, stage attn_norm, phase prefill"),
                    HasSubstr("- norm_eps: explained residual 0.99999, the cause"),
                    HasSubstr("- norm_plus_one: explained residual 0.25\n"),
                    HasSubstr("- norm_omitted: explained residual 0\n"), Not(HasSubstr("- output_scaled"))));
  EXPECT_THAT(b3_31_analysis(diagnosed_verdict()), Not(HasSubstr("RMSNorm audit")));
}

TEST(Unpaired, PrintsNoComparison) {
  const Verdict verdict = unpaired_verdict();
  EXPECT_THAT(to_markdown({b3_31_table(verdict)}),
              AllOf(HasSubstr("| E0 | p4_sys | - | - | - |"), Not(HasSubstr("e+00"))));
  EXPECT_THAT(terminal(verdict, false),
              AllOf(Not(HasSubstr("MAE")), Not(HasSubstr("Attested")), HasSubstr("aligned decode0")));
  EXPECT_THAT(
      b3_31_analysis(verdict),
      AllOf(HasSubstr("exceeds its rounding bound of the fp64 oracle"), Not(HasSubstr("depend on")),
            Not(HasSubstr("pairs")), Not(HasSubstr("Equal bit for bit")), Not(HasSubstr("MAE of Q"))));
  EXPECT_THAT(english(verdict), AllOf(HasSubstr("each recorded stage is judged alone"),
                                      Not(HasSubstr("is computed twice")), Not(HasSubstr("Alignment"))));
  EXPECT_THAT(spanish(verdict), HasSubstr("cada etapa registrada se juzga por separado"));
}

}  // namespace
}  // namespace greta::report
