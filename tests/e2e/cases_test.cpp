// Bundles of another implementation, clean and with bugs (tests/goldens/cases/cases.json says what is right):
// the exit code of each, the stage and phase that the finding must name, and the name of all findings.

#include <gmock/gmock.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "e2e/program.h"

namespace greta {
namespace {

const std::string kCases = std::string(GRETA_SOURCE_DIR) + "/tests/goldens/cases/";

nlohmann::json cases() {
  std::ifstream file(kCases + "cases.json");
  return nlohmann::json::parse(file)["cases"];
}

class Cases : public ::testing::TestWithParam<nlohmann::json> {
 protected:
  static nlohmann::json verdict_of(const nlohmann::json& its, int exit_code) {
    const test::Outcome outcome = test::run_greta({"diagnose", kCases + its["bundle"].get<std::string>(),
                                                   "-m", kCases + its["model"].get<std::string>(), "--json"});
    EXPECT_EQ(outcome.exit_code, exit_code) << its["right"] << outcome.err;
    return nlohmann::json::parse(outcome.out, nullptr, false);
  }
};

TEST_P(Cases, AreJudgedRightly) {
  const nlohmann::json& its = GetParam();
  const nlohmann::json verdict = verdict_of(its, its["exit"]);
  const std::string stages = its["stage"], phase = its["phase"];
  if (its["exit"] != 1 || stages == "-") return;
  ASSERT_FALSE(verdict["findings"].empty());
  for (const nlohmann::json& finding : verdict["findings"])
    EXPECT_EQ(finding["hypothesis"], its["name"]) << finding["stage"] << ": " << finding["title"];
  for (const nlohmann::json& finding : verdict["findings"]) {
    const std::string stage = finding["stage"];
    if (stages != "all" && stages.find(stage) == std::string::npos) continue;
    if (phase == "prefill" || phase == "decode") {
      EXPECT_EQ(finding["phase"], phase) << stage;
    }
    return;
  }
  ADD_FAILURE() << "no finding at " << stages << ": " << verdict["findings"].dump();
}

INSTANTIATE_TEST_SUITE_P(All, Cases, ::testing::ValuesIn(cases()), [](const auto& test) {
  const std::string bundle = test.param["bundle"];
  return bundle.substr(0, bundle.find('.'));
});

}  // namespace
}  // namespace greta
