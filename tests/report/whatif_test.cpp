#include "report/whatif.h"

#include <gmock/gmock.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

namespace greta::report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// All devices, the numbers as wide as they get.
WhatIf sample_whatif() {
  WhatIf result;
  result.model_name = "A <model> & \"quotes\" of a name that is too long for a line of eighty columns";
  result.model_hash = "xxh3-128:0";
  result.sim_input = "bf16";
  result.prompts = {{"p4_sys", 24}, {"p6_long", 1000}};
  for (int layer = 0; layer < 30; ++layer) result.layers.push_back(layer);
  UnitResult unit;
  unit.status = RunStatus::rounding;
  unit.max_noise_ratio = 0.998;
  unit.logits = {1024, 1000, 4.8e-4, 2.4e-3, 8.7e-1, 7.6e-2};
  unit.bias = {{Phase::prefill, "matrix", {"k"}, 1592832, 100, {-3.1234, 0.0027, -3.1}, {-0.0033, 0.0028}},
               {Phase::decode, "vector", {"k"}, 9, 1, {-12345.6, kInfinity, -123.4}, {1e30, 12.3456, 1e30}}};
  for (const int layer : result.layers) unit.drift.push_back({layer, 1e-3 * (layer + 1)});
  for (int i = 0; i < kStageCount; ++i) {
    const Stage stage = static_cast<Stage>(i);
    const int layer = is_outside_layers(stage) ? kNoLayer : 3;
    unit.stages.push_back({Phase::prefill, layer, stage, 1.2e-3, 4.5e-6, 0.0123});
    unit.stages.push_back({Phase::decode, layer, stage, 7, 7, 0.5});
  }
  for (const char* name :
       {"sim:mi100", "sim:mi250x", "sim:mi300x", "sim:v100", "sim:a100", "sim:h100", "sim:b200", "cpu"}) {
    unit.device = name;
    result.units.push_back(unit);
  }
  result.units[1].status = RunStatus::inconclusive;  // the longest
  result.units[2].status = RunStatus::fault;
  result.units[2].max_noise_ratio = kInfinity;
  result.units[2].first_fault = "prefill layer 3 q";
  result.reference = unit;
  return result;
}

TEST(WhatIfReport, TableFitsTheTerminalAndSaysWhatFailed) {
  const std::string text = to_terminal(whatif_report(sample_whatif()), 80, false);
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80u) << line;
  EXPECT_THAT(text, HasSubstr("outside its bound: prefill layer 3 q"));
  EXPECT_THAT(text, HasSubstr("-3.1234 +- 0.0027  -3.1000 -0.0033 +- 0.0028        -\n"));
  EXPECT_THAT(text, HasSubstr("cpu, vector route (f32 FMA)"));
  EXPECT_THAT(text, HasSubstr("1000/1024"));
  for (const UnitResult& unit : sample_whatif().units) EXPECT_THAT(text, HasSubstr(unit.device));
}

TEST(WhatIfReport, StagesAreOfPrefill) {
  EXPECT_THAT(to_terminal(whatif_report(sample_whatif()), 80, false), Not(HasSubstr("7.0e+00")))
      << "of decode0";
}

TEST(WhatIfReport, JsonHasAllOfIt) {
  const nlohmann::json json = whatif_json(sample_whatif());
  EXPECT_EQ(json["schema"], "greta.whatif/1");
  EXPECT_EQ(json["exit_code"], 1);
  ASSERT_EQ(json["devices"].size(), 8u);
  const nlohmann::json& unit = json["devices"][2];
  EXPECT_EQ(unit["device"], "sim:mi300x");
  EXPECT_EQ(unit["status"], "FAULT");
  EXPECT_EQ(unit["max_noise_ratio"], "inf");
  EXPECT_EQ(unit["logits"]["top1_agree"], 1000);
  EXPECT_EQ(unit["drift"].size(), 30u);
  EXPECT_EQ(unit["stages"].size(), 2u * kStageCount);
  EXPECT_EQ(unit["stages"][1]["phase"], "decode0");
  EXPECT_EQ(unit["bias"][0]["up_ulp"]["mean"], -3.1234);
  EXPECT_EQ(unit["bias"][0]["up_ulp"]["standard_error"], 0.0027);
  EXPECT_EQ(unit["bias"][0]["up_ulp"]["expected"], -3.1);
  EXPECT_TRUE(unit["bias"][0]["outward_ulp"]["expected"].is_null()) << "not known";
  EXPECT_EQ(json["reference"]["name"], "cpu, vector route (f32 FMA)");
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

/// Every element is closed in turn; no bare & or <.
void expect_well_formed(const std::string& svg) {
  std::vector<std::string> open;
  for (size_t at = 0; (at = svg.find('<', at)) != std::string::npos;) {
    const size_t end = svg.find('>', at);
    ASSERT_NE(end, std::string::npos);
    const std::string tag = svg.substr(at + 1, end - at - 1);
    ASSERT_EQ(tag.find('<'), std::string::npos) << tag;
    EXPECT_EQ(count(tag, "\"") % 2, 0u) << tag;
    const std::string element = tag.substr(tag[0] == '/', tag.find_first_of(" /", 1) - (tag[0] == '/'));
    if (tag[0] == '/') {
      ASSERT_FALSE(open.empty()) << tag;
      EXPECT_EQ(open.back(), tag.substr(1));
      open.pop_back();
    } else if (tag.back() != '/') {
      open.push_back(element);
    }
    at = end;
  }
  EXPECT_TRUE(open.empty());
  for (size_t at = 0; (at = svg.find('&', at)) != std::string::npos; ++at) {
    const std::string rest = svg.substr(at, 6);
    EXPECT_TRUE(rest.starts_with("&lt;") || rest.starts_with("&gt;") || rest.starts_with("&amp;") ||
                rest.starts_with("&quot;"))
        << rest;
  }
}

TEST(WhatIfReport, SvgIsWellFormedAndEscapes) {
  const std::string svg = whatif_svg(sample_whatif());
  expect_well_formed(svg);
  EXPECT_THAT(svg, HasSubstr("A &lt;model&gt; &amp; &quot;quotes&quot;"));
  EXPECT_EQ(count(svg, "<polyline"), 8u);
  EXPECT_EQ(count(svg, "nan"), 0u);
  EXPECT_EQ(count(svg, "inf"), 0u);
}

TEST(WhatIfReport, SvgOfNoDifferenceHasTheLegendOnly) {
  WhatIf result = sample_whatif();
  for (UnitResult& unit : result.units) {
    for (Drift& drift : unit.drift) drift.rel_l2 = 0;
  }
  result.units[0].drift[0].rel_l2 = kInfinity;
  result.layers = {5};
  const std::string svg = whatif_svg(result);
  expect_well_formed(svg);
  EXPECT_EQ(count(svg, "<polyline"), 0u);
  EXPECT_THAT(svg, HasSubstr(">cpu 0<"));
}

}  // namespace
}  // namespace greta::report
