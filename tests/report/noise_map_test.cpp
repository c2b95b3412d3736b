#include "report/noise_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <sstream>

#include "report/report.h"
#include "report/sample_verdict.h"

namespace greta::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(NoiseMap, MarksGrowWithTheRatio) {
  const double infinity = std::numeric_limits<double>::infinity();
  std::string marks;
  for (const double ratio : {0.0, 0.5, 0.51, 1.0, 1.01, 10.0, 10.1, 1e9, 1.1e9, 1e36, 1e300, infinity})
    marks += noise_mark(ratio);
  EXPECT_EQ(marks, "..::1129AZZ#");
  EXPECT_EQ(noise_mark(std::numeric_limits<double>::quiet_NaN()), '#');
}

TEST(NoiseMap, HasARowPerLayerAndAColumnPerStage) {
  Verdict verdict;
  verdict.noise = {{Phase::prefill, 0, Stage::x_in, 0.1},
                   {Phase::prefill, 0, Stage::q, 2e4},
                   {Phase::prefill, 11, Stage::x_in, 0.9},
                   {Phase::decode, 0, Stage::q, 0.3},
                   {Phase::prefill, kNoLayer, Stage::logits, 3}};
  EXPECT_EQ(drawn(noise_map(verdict, Phase::prefill)),
            "      x\n"
            "      _\n"
            "      i\n"
            "      n q\n"
            "    0 . 5\n"
            "   11 : -\n"
            "      logits 1\n");
  EXPECT_EQ(drawn(noise_map(verdict, Phase::decode)), "      q\n    0 .\n");
  verdict.noise.clear();
  EXPECT_EQ(drawn(noise_map(verdict, Phase::prefill)), "");
}

TEST(NoiseMap, OfAllStagesFitsEightyColumns) {
  Verdict verdict;
  for (int i = 0; i < kStageCount; ++i) {
    const Stage stage = static_cast<Stage>(i);
    verdict.noise.push_back({Phase::prefill, is_outside_layers(stage) ? kNoLayer : 1234, stage, 0.1});
  }
  std::istringstream lines(drawn(noise_map(verdict, Phase::prefill)));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
}

TEST(NoiseMap, IsInTheMarkdownOfBothLanguages) {
  const Verdict verdict = diagnosed_verdict();
  for (const Language language : {Language::english, Language::spanish}) {
    const std::string text = markdown(verdict, language);
    EXPECT_THAT(text, HasSubstr("```\n" + drawn(noise_map(verdict, Phase::prefill)) + "```\n"));
    EXPECT_THAT(text, HasSubstr("```\n" + drawn(noise_map(verdict, Phase::decode)) + "```\n"));
    EXPECT_THAT(markdown(clean_verdict(), language), Not(HasSubstr("```")));
  }
  EXPECT_THAT(markdown(verdict, Language::english), HasSubstr("Map of noise ratios"));
  EXPECT_THAT(markdown(verdict, Language::spanish), HasSubstr("Mapa de razones de ruido"));
}

}  // namespace
}  // namespace greta::report
