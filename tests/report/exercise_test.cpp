// What was not exercised comes first; a difference of runs is told as what it is.

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "report/report.h"

namespace greta::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Verdict held_verdict() {
  Verdict verdict;
  verdict.status = RunStatus::rounding;
  verdict.model_name = "m";
  Exercise exercise;
  exercise.seed = 42;
  exercise.held = true;
  exercise.prompts = 2;
  exercise.own_tokens = 258;
  exercise.blocks = {3, 1, 33};
  exercise.threads = {1, 2};
  exercise.judged = 400;
  exercise.steps = {15, 16};
  exercise.caches = {"f32", "f16"};
  exercise.equal = {"cpu.avx2.attention"};
  exercise.not_exercised = {{"positions from 258 on", "posiciones desde la 258"}};
  verdict.exercise = exercise;
  return verdict;
}

/// Printed for a terminal, each paragraph in one line.
std::string in_lines(const Verdict& verdict) {
  std::string text = terminal(verdict, false);
  for (size_t at = text.find("\n "); at != std::string::npos; at = text.find("\n ", at))
    text.replace(at, text.find_first_not_of(' ', at + 1) - at, " ");
  return text;
}

Finding of_runs() {
  Finding finding;
  finding.phase = Phases::decode;
  finding.layer = 3;
  finding.stage = Stage::pv;
  finding.cause = Cause::named;
  finding.family = CauseFamily::plan;
  finding.best = "fused_kernel";
  finding.title = {"the fused kernel is wrong", "el kernel fusionado está mal"};
  finding.cells = {{"E0", "p"}};
  finding.difference = {"fused_kernel", {{"Held against it.", "Contrastado."}}, {}};
  return finding;
}

TEST(Exercise, WhatWasNotExercisedIsTheSecondLine) {
  const Verdict verdict = held_verdict();
  const std::string text = in_lines(verdict);
  const size_t second = text.find('\n') + 1;
  EXPECT_EQ(text.substr(second, text.find('\n', second) - second), "Not exercised: positions from 258 on.");
  EXPECT_THAT(text, HasSubstr("`--seed 42`"));
  EXPECT_THAT(text, HasSubstr("blocks of 1 to 33 rows"));
  EXPECT_THAT(text, HasSubstr("cpu.avx2.attention"));
  EXPECT_THAT(markdown(verdict, Language::spanish), HasSubstr("no puso a prueba: posiciones desde la 258."));
}

TEST(Exercise, AFirstPartOfThePromptsIsSaidToBeThat) {
  Verdict verdict = held_verdict();
  verdict.exercise->first_tokens = 32;
  EXPECT_THAT(in_lines(verdict), HasSubstr("the first 32 tokens of 2 prompts"));
}

TEST(Exercise, WhatWasNotHeldIsNotVouchedFor) {
  Verdict verdict = held_verdict();
  verdict.exercise->held = false;
  verdict.exercise->unvouched = {"cpu.avx2.silu_mul.q8"};
  verdict.exercise->equal.clear();
  const std::string text = in_lines(verdict);
  EXPECT_THAT(text, HasSubstr("Not vouched for"));
  EXPECT_THAT(text, Not(HasSubstr("recorded bits")));
}

TEST(Exercise, ADifferenceOfRunsHasItsCauseAndNoFiguresOfAnOracle) {
  const Verdict verdict =
      completed(held_verdict(), {.differences = {of_runs()}, .exercise = held_verdict().exercise});
  EXPECT_EQ(verdict.status, RunStatus::fault);
  const std::string text = in_lines(verdict);
  EXPECT_THAT(text, HasSubstr("Runs that must agree bit for bit do not."));
  EXPECT_THAT(text, HasSubstr("Cause: the fused kernel is wrong (fused_kernel)."));
  EXPECT_THAT(text, HasSubstr("Held against it."));
  EXPECT_THAT(text, HasSubstr("No intervention: no stage was replaced"));
  EXPECT_THAT(text, Not(HasSubstr("noise ratio 0 ")));
  EXPECT_THAT(text, Not(HasSubstr("Runner-up")));
  const nlohmann::json json = to_json(verdict);
  EXPECT_EQ(json.at("findings").at(0).at("difference").at("cause"), "fused_kernel");
  EXPECT_EQ(json.at("exercise").at("seed"), 42);
  EXPECT_EQ(json.at("exit_code"), 1);
}

TEST(Exercise, AHypothesisFoundOnOtherTokensIsSaidToBeNotProvedByAnIntervention) {
  Finding finding = of_runs();
  finding.family = CauseFamily::weight;
  finding.best = "weight_column_major";
  finding.difference->cause.clear();
  const Verdict verdict = completed(held_verdict(), {.differences = {finding}});
  EXPECT_THAT(in_lines(verdict), HasSubstr("Not proved by an intervention"));
  EXPECT_THAT(in_lines(verdict), HasSubstr("A stage is wrong by more than rounding explains."));
  EXPECT_THAT(markdown(verdict, Language::spanish), HasSubstr("Sin probar por intervención"));
}

}  // namespace
}  // namespace greta::report
