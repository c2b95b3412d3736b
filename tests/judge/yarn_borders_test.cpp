// What a GGUF file leaves open of YaRN: RoPE's rows of an engine that reads it in either way. They are the
// oracle's own, so the tolerance is the judge's bound.

#include <gmock/gmock.h>

#include <cmath>

#include "judge/judge.h"
#include "judge/stage_problem.h"
#include "model/gguf.h"
#include "model/model_files.h"
#include "model/tiny_file.h"

namespace greta {
namespace {

using testing::HasSubstr;

/// How an engine makes a phase's angles.
using Reading = std::function<void(YarnRope& yarn)>;
void as_the_authors(YarnRope&) {}
void whole(YarnRope& yarn) { yarn.whole_borders = true; }
void whole_by_another_factor(YarnRope& yarn) { yarn.whole_borders = true, yarn.factor *= 2; }

Event event_of(const std::string& phase, At at, int64_t first, int64_t rows, int64_t width) {
  const std::string experiment = "E0", prompt = "p";
  Event event;
  event.cell = experiment + "/" + prompt;
  event.experiment = experiment;
  event.prompt_id = prompt;
  event.phase = phase;
  event.layer = at.layer;
  event.stage = name(at.stage);
  event.kernel = "theirs";
  event.positions = {first, first + rows - 1};
  event.shape = {rows, width};
  return event;
}

void add(Bundle& bundle, const Model& model, const char* phase, int64_t first, int64_t rows,
         const Reading& reading) {
  for (int layer = 0; layer < model.config.n_layer; ++layer) {
    for (const auto& [from, to] : {std::pair(Stage::q, Stage::q_rope), std::pair(Stage::k, Stage::k_rope)}) {
      oracle::RopeShape shape = model_problem(model, {layer, to}).rope;
      reading(shape.yarn);
      std::vector<float> x(static_cast<size_t>(rows * shape.heads * shape.head_dim));
      for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(7 * i + 3) * 0.37f);
      const Expected turned = oracle::rope(x, shape, first);
      const std::vector<float> y(turned.value.begin(), turned.value.end());
      for (const auto& [stage, values] : {std::pair(from, x), std::pair(to, y)}) {
        bundle.add(event_of(phase, {layer, stage}, first, rows, std::ssize(values) / rows), values);
      }
    }
  }
}

Verdict judged(const Reading& prefill, const Reading& decode) {
  const test::TinyFile file("gpt-oss");
  Bundle bundle;
  bundle.manifest = {{"schema", "greta.trace/1"}, {"aligned", false}};
  bundle.manifest["experiments"] = {{{"name", "E0"}, {"force_route", "auto"}, {"force_gemm", false}}};
  bundle.manifest["prompts"] = {{{"id", "p"}, {"text", ""}, {"tokens", std::vector<int>(64, 1)}}};
  add(bundle, file.model, "prefill", 0, 48, prefill);
  add(bundle, file.model, "decode0", 48, 1, decode);
  return judge(bundle, file.model);
}

std::string arithmetic_of_rope(const Verdict& verdict) {
  std::string all;
  for (const KernelArithmetic& kernels : verdict.arithmetic) {
    if (std::ranges::count(kernels.stages, Stage::q_rope) > 0) all += kernels.what + "\n";
  }
  return all;
}

bool convicts_rope(const Verdict& verdict) {
  return std::ranges::any_of(verdict.findings, [](const Finding& f) {
    return f.stage == Stage::q_rope || f.stage == Stage::k_rope;
  });
}

TEST(YarnBorders, AreTheModelsWhereNothingSaysOtherwise) {
  const Verdict verdict = judged(as_the_authors, as_the_authors);
  EXPECT_FALSE(convicts_rope(verdict));
  EXPECT_EQ(arithmetic_of_rope(verdict).find("borders"), std::string::npos);
}

TEST(YarnBorders, AreWholeWhereTheEngineReadsTheFileSo) {
  const Verdict verdict = judged(whole, whole);
  EXPECT_FALSE(convicts_rope(verdict));
  EXPECT_THAT(arithmetic_of_rope(verdict), HasSubstr("rounded to whole pairs, which the file leaves open"));
}

TEST(YarnBorders, AreAFaultWhereTheTwoPhasesDiffer) {
  EXPECT_TRUE(convicts_rope(judged(whole, as_the_authors)));
  EXPECT_TRUE(convicts_rope(judged(as_the_authors, whole)));
}

TEST(YarnBorders, HideNoOtherFactor) {
  EXPECT_TRUE(convicts_rope(judged(whole, whole_by_another_factor)));
  const Verdict verdict = judged(whole_by_another_factor, whole_by_another_factor);
  EXPECT_FALSE(is_clean(verdict.status)) << arithmetic_of_rope(verdict);
}

}  // namespace
}  // namespace greta
