// The page as text: that it is whole, that it says what is not measured, and that names stay names. How it
// looks and behaves is seen in a browser (docs/development.md).

#include "report/page.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "report/html.h"
#include "sample_verdict.h"

namespace greta::report {
namespace {

size_t times_in(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

StageNoise noise_of(Phase phase, double ratio) {
  auto picture = std::make_shared<ErrorPicture>();
  picture->positions = {0, 23};
  picture->rows = 2;
  picture->ratios = {0.5, ratio};
  picture->position = 23;
  picture->values = {{7, 1.5F, 0.25, 1e-6}};
  return {.phase = phase,
          .layer = 0,
          .stage = Stage::q,
          .ratio = ratio,
          .cell = {"E0", "p4_sys"},
          .kernel = "cpu.gemm",
          .route = "matrix",
          .arithmetic = "f32",
          .picture = picture};
}

std::string between(const std::string& text, const std::string& from, const std::string& to) {
  const size_t begin = text.find(from) + from.size();
  return text.substr(begin, text.find(to, begin) - begin);
}

nlohmann::json data_of(const std::string& page) {
  return nlohmann::json::parse(between(page, "id=\"data\">", "</script>"));
}

TEST(Page, SaysVerdictFirstFaultAndWhatIsUnmeasured) {
  Verdict verdict = fault_verdict();
  verdict.noise = {noise_of(Phase::prefill, 12345.6)};
  const std::string text = page(verdict);
  EXPECT_NE(text.find("lang=\"en\">FAULT</span><span class=\"es\" lang=\"es\">FALLO</span></p>"),
            std::string::npos);
  EXPECT_NE(text.find("layers 0-1, stage q, phase prefill"), std::string::npos);
  EXPECT_NE(text.find("capas 0-1, etapa q, fase prefill"), std::string::npos);
  EXPECT_NE(text.find("<td class=\"c5\">5</td>"), std::string::npos);  // 10^4 < 12345.6 <= 10^5
  // One place of 2 phases x (2 layers x 15 stages that every model has + final_norm and logits).
  EXPECT_NE(text.find("UNMEASURED 63"), std::string::npos);
  EXPECT_EQ(times_in(text, "<td class=\"u\">"), 59U);  // but for the two outside the layers, in either phase
}

TEST(Page, ShowsAForeignRecordingWithoutAMatrix) {
  Verdict verdict = fault_verdict();
  verdict.engine = "transformers", verdict.engine_version = "5.24.0";
  EXPECT_NE(page(verdict).find(">Q MAE</th>"), std::string::npos);
  const auto is_forced = [](const CellKey& key) { return key.experiment != "E0"; };
  std::erase_if(verdict.cells, [&](const Cell& cell) { return is_forced(cell.key); });
  std::erase_if(verdict.pairs, [&](const StagePair& pair) { return is_forced(pair.cell); });
  for (Finding& finding : verdict.findings) std::erase_if(finding.cells, is_forced);
  for (Cell& cell : verdict.cells) cell.q.route = cell.k.route = cell.v.route = "";
  const std::string text = page(verdict), first_screen = text.substr(0, text.find("id=\"report\""));
  EXPECT_NE(text.find("transformers 5.24.0"), std::string::npos);
  EXPECT_EQ(first_screen.find("Q MAE"), std::string::npos);
  EXPECT_EQ(first_screen.find("With a fault: E0"), std::string::npos);
  EXPECT_EQ(first_screen.find("<code></code>"), std::string::npos);
}

/// A masked score is right as it is: the element to look at is one that differs.
TEST(Page, NamesAnElementThatIsWrong) {
  Verdict verdict = fault_verdict();
  verdict.noise = {noise_of(Phase::prefill, 12345.6)};
  auto picture = std::make_shared<ErrorPicture>(*verdict.noise.front().picture);
  picture->values = {{6, -INFINITY, -INFINITY, 0}, {7, 1.5F, 0.25, 1e-6}};
  verdict.noise.front().picture = picture;
  const std::string text = page(verdict);
  EXPECT_NE(text.find("element 7: 1.5"), std::string::npos);
  EXPECT_EQ(text.find("element 6: "), std::string::npos);
}

TEST(Page, IsOneFileWithoutNetwork) {
  const std::string text = page(fault_verdict());
  for (const char* from_elsewhere : {"src=", "http:", "https:", "@import", "url(", "fetch(", "innerHTML"})
    EXPECT_EQ(text.find(from_elsewhere), std::string::npos) << from_elsewhere;
  EXPECT_NE(text.find("default-src 'none'"), std::string::npos);
  EXPECT_EQ(times_in(text, "<script"), 2U);
}

TEST(Page, DataHoldWhatIsBehindAPlace) {
  Verdict verdict = fault_verdict();
  verdict.noise = {noise_of(Phase::prefill, 12345.6), noise_of(Phase::decode, INFINITY)};
  const nlohmann::json data = data_of(page(verdict));
  EXPECT_EQ(data["cells"].size(), 10U);
  EXPECT_EQ(data["places"][0]["ratio"], 12350.0);  // four digits
  EXPECT_EQ(data["places"][1]["ratio"], "inf");
  EXPECT_EQ(data["places"][0]["picture"]["values"], (nlohmann::json{{7, "1.5", "0.25", 1e-6}}));
  const nlohmann::json& q = data["pairs"]["L0/q"];
  EXPECT_EQ(q[0], "EFEFEFEFEF");  // p0_short cannot show it
  EXPECT_EQ(data["findings"][1]["group"], 1);
  EXPECT_EQ(data["words"]["close"], (nlohmann::json{"close", "cerrar"}));
}

/// Names as a bundle may have them.
const char* const kHostile[] = {"</script><script>alert(1)</script>",
                                "\"onmouseover='alert(2)'",
                                "<img onerror=x>",
                                "a\xe2\x80\xae"
                                "b",  // U+202E: what follows is written from right to left
                                "\x1b[31m",
                                "]]><!--"};

TEST(Page, NamesOfStrangersAreInert) {
  for (const std::string name : kHostile) {
    Verdict verdict = fault_verdict();
    verdict.model_name = verdict.engine = verdict.command_line = verdict.date = verdict.engine_version = name;
    verdict.device = verdict.isa = verdict.model_hash = name;
    verdict.injected = {name};
    verdict.cells.front().key.prompt = verdict.pairs.front().cell.prompt = name;
    verdict.cells.front().q.kernel = verdict.cells.front().prefill_q_kernel = name;
    verdict.flags = {{FlagKind::vacuous, {"E0", name}, name}};
    verdict.coverage.skipped = {name};
    verdict.findings.front().cells = {{name, name}};
    verdict.findings.front().pattern = verdict.findings.front().title = {name, name};
    verdict.findings.front().best = name;
    StageNoise noise = noise_of(Phase::prefill, 7);
    noise.kernel = noise.route = noise.arithmetic = name;
    noise.cell.prompt = name;
    verdict.noise = {noise};
    const std::string text = page(verdict);
    EXPECT_EQ(times_in(text, "<script"), 2U) << name;
    EXPECT_EQ(times_in(text, "</script"), 2U) << name;
    const std::string markup = text.substr(0, text.find("id=\"data\">"));
    EXPECT_EQ(markup.find(name), std::string::npos) << name;
    EXPECT_EQ(text.find("<img"), std::string::npos);
    EXPECT_EQ(text.find("\xe2\x80\xae"), std::string::npos);
    EXPECT_EQ(data_of(text)["places"][0]["kernel"], name);  // as text it is whole
  }
}

TEST(Html, ShowsTextAsItIs) {
  EXPECT_EQ(html_text("<a href=\"x\">'&"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
  EXPECT_EQ(html_words("use `a<b` or ` alone"), "use <code>a&lt;b</code> or ` alone");
  EXPECT_EQ(to_html({Heading{3, "Fold"}, Paragraph{"in"}, Heading{2, "Out"}}),
            "<details><summary>Fold</summary>\n<p>in</p>\n</details>\n<h2>Out</h2>\n");
  EXPECT_EQ(to_html({List{}}), "");
}

}  // namespace
}  // namespace greta::report
