#include "report/document.h"

#include <gmock/gmock.h>

#include <set>

#include "report/artifacts.h"
#include "report/sample_verdict.h"

namespace greta::report {
namespace {

/// One block of each kind that has a look of its own.
Document sample_document() {
  Table table{{{"name", Align::left, 6}, {"size", Align::right, 5}, {"verdict"}}, {}};
  table.rows.push_back({"a|b`", "1", {std::string("FAULT"), Tone::bad}});
  table.rows.push_back({"too_long", "12345678", "EQUAL"});
  return {Heading{2, "Title"}, Paragraph{"a sentence.", "FAULT", Tone::bad},
          List{{{"first", {"note"}}, {"second"}}, true, "and 2 more"}, table, Preformatted{"x  y"}};
}

TEST(Markdown, FoldsWhatStandsBelowAThirdLevel) {
  const Document document{Heading{2, "Results"}, Heading{3, "Table"}, Paragraph{"inside"},
                          Heading{2, "After"},   Heading{3, "Last"},  Paragraph{"also"}};
  EXPECT_EQ(to_markdown(document),
            "## Results\n\n<details>\n<summary>Table</summary>\n\ninside\n\n</details>\n\n## After\n\n"
            "<details>\n<summary>Last</summary>\n\nalso\n\n</details>\n");
}

TEST(Document, AsMarkdown) {
  EXPECT_EQ(to_markdown(sample_document()),
            "## Title\n\n**FAULT** - a sentence.\n\n1. **first**\n   - note\n2. second\n- and 2 more\n\n"
            "| name | size | verdict |\n|---|---:|---|\n| a\\|b\\` | 1 | FAULT |\n"
            "| too_long | 12345678 | EQUAL |\n\n```\nx  y\n```\n");
}

TEST(Document, OnATerminal) {
  EXPECT_EQ(to_terminal(sample_document(), 80, false),
            "\nTitle\n\nFAULT: a sentence.\n1. first\n   note\n2. second\n   and 2 more\n\n"
            "name    size verdict\na|b`       1 FAULT\ntoo_l~ 12345678 EQUAL\n  x  y\n");
  const std::string coloured = to_terminal(sample_document(), 80, true);
  EXPECT_THAT(coloured, ::testing::HasSubstr("\n\x1b[1;31mFAULT\x1b[0m: a sentence."));
  EXPECT_THAT(to_terminal({Paragraph{"one two three"}}, 8, false), "one two\n  three\n");
  // A lead that does not stay as it was is not painted, and no character of it is cut in two.
  EXPECT_THAT(to_terminal({Paragraph{.text = "c", .lead = "a  \xf0\x9f\x98\x80"}}, 80, true),
              "\na \xf0\x9f\x98\x80: c\n");
}

/// A row that has something said of it, and columns that are wider than what they hold.
Document noted() {
  Table table{{{.head = "run", .least = 5},
               {.head = "n", .align = Align::right, .least = 3},
               {.head = "what", .gap = 2}},
              {{"E0", "1", "a"}, {"E1/long", "2", "b"}}};
  table.notes[0] = {"why", "\x1b"};
  return {table, Paragraph{"end"}};
}

TEST(Document, ShowsTheNotesOfARow) {
  EXPECT_EQ(to_terminal(noted(), 80, false),
            "run       n  what\nE0        1  a\n    why\n    \\x1b\nE1/long   2  b\nend\n");
  EXPECT_EQ(to_markdown(noted()),
            "| run | n | what |\n|---|---:|---|\n| E0 | 1 | a |\n| E1/long | 2 | b |\n\n"
            "- **E0**\n  - why\n  - \\x1b\n\nend\n");
  EXPECT_THAT(to_text(noted()), ::testing::HasSubstr("\n\n- E0\n  - why\n  - \\x1b\nend\n"));
}

TEST(Document, ShowsTheHeadsOfGroups) {
  Table table{{{.head = "stage", .least = 6}, {"max", Align::right}, {"mean", Align::right}, {"what"}},
              {{"q", "1", "2", ""}}};
  table.groups = {{""}, {"device", 2}, {"of"}};
  EXPECT_EQ(to_terminal({Paragraph{"above"}, table}, 80, false),
            "above\n\n         device of\nstage  max mean what\nq        1    2\n");
  EXPECT_EQ(to_markdown({table}),
            "| stage | device max | device mean | of what |\n|---|---:|---:|---|\n| q | 1 | 2 |  |\n");
}

TEST(Document, AsText) {
  EXPECT_EQ(to_text({Heading{1, "Title"}, Paragraph{"a."}, List{{{"b", {"c"}}}}}), "Title\na.\n- b\n  - c\n");
}

TEST(Document, IsPrintedWithoutHiddenCharacters) {
  const Document hostile{Paragraph{"a\x1b[2J"}, List{{{"b\n", {"\xff"}}}}};
  for (const std::string& text : {to_markdown(hostile), to_text(hostile), to_terminal(hostile, 80, true)}) {
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
    EXPECT_EQ(text.find('\xff'), std::string::npos);
    EXPECT_THAT(text, ::testing::HasSubstr("b\\x0a"));
  }
}

TEST(Document, HasTheSameBlocksInBothLanguages) {
  for (const Verdict& verdict : {clean_verdict(), diagnosed_verdict(), unaligned_verdict()}) {
    const Report report(verdict);
    const Document english = full_report(report, Language::english),
                   spanish = full_report(report, Language::spanish);
    ASSERT_EQ(english.size(), spanish.size());
    for (size_t i = 0; i < english.size(); ++i) {
      ASSERT_EQ(english[i].index(), spanish[i].index()) << i;
      if (const Table* table = std::get_if<Table>(&english[i])) {
        EXPECT_EQ(table->columns.size(), std::get<Table>(spanish[i]).columns.size());
        for (const auto& row : table->rows) EXPECT_EQ(row.size(), table->columns.size());
      }
    }
  }
}

TEST(Document, HoldsTheMapAsData) {
  const Verdict verdict = diagnosed_verdict();
  std::vector<NoiseMap> maps;
  for (const Block& block : full_report(verdict, Language::english)) {
    if (const NoiseMap* map = std::get_if<NoiseMap>(&block)) maps.push_back(*map);
  }
  ASSERT_EQ(maps.size(), 2u);
  EXPECT_THAT(maps[0].stages, ::testing::ElementsAre(Stage::x_in, Stage::attn_norm, Stage::q));
  EXPECT_EQ(maps[0].ratios.at(1).at(2), 12345.6);
  EXPECT_EQ(maps[1].ratios.at(1).at(2), 0.3);
}

TEST(Artifacts, HaveNamesOfTheirOwn) {
  std::set<std::string> names{kArchive};
  for (const Artifact& artifact : kArtifacts)
    EXPECT_TRUE(names.insert(artifact.name).second) << artifact.name;
}

}  // namespace
}  // namespace greta::report
