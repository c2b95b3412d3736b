#pragma once
// A report as data: what it says, in order, and nothing of how that looks. Built once per language, printed
// as Markdown, as plain text or for a terminal.
//
// Texts hold no mark-up but one: what stands between two ` is typed or read as it is (an option, a phase).

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "model/phase.h"
#include "model/stage.h"

namespace greta::report {

/// What a word means for the reader, where there is colour to show it.
enum class Tone { plain, good, bad, unsure };

struct Heading {
  int level = 1;  // 1 is the title
  std::string text;
};

/// `lead` is the word that it is about ("FAULT"); such a paragraph stands apart.
struct Paragraph {
  std::string text;
  std::string lead = {};
  Tone tone = Tone::plain;  // of the lead
};

/// Notes are what there is to say about the item.
struct Item {
  std::string text;
  std::vector<std::string> notes = {};
};

struct List {
  std::vector<Item> items;
  bool numbered = false;
  std::string more = {};  // about items that are left out
};

enum class Align { left, right };

struct Column {
  std::string head;
  Align align = Align::left;
  // On a terminal.
  size_t width = 0;  // exactly; 0: as wide as its cells, but
  size_t least = 0;  // so much at least
  size_t gap = 1;    // blanks before it
};

struct TableCell {
  std::string text;
  Tone tone = Tone::plain;
  TableCell(std::string words, Tone how = Tone::plain) : text(std::move(words)), tone(how) {}
  TableCell(std::string_view words) : text(words) {}
  TableCell(const char* words) : text(words) {}
};

/// A head above those of several columns.
struct ColumnGroup {
  std::string head;
  size_t columns = 1;
};

/// Every row has a cell for every column.
struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<TableCell>> rows;
  std::map<size_t, std::vector<std::string>> notes = {};  // what there is to say of a row, by its index
  std::vector<ColumnGroup> groups = {};                   // of all columns, in their order; or none
  size_t note_indent = 4;                                 // on a terminal, where they stand below the row
};

/// Lines that stay as they are.
struct Preformatted {
  std::string text;
};

/// The map of one phase: noise ratios by layer and stage, nothing where none was judged.
struct NoiseMap {
  Phase phase = Phase::prefill;
  std::string caption = {};
  std::vector<int> layers = {};
  std::vector<Stage> stages = {};
  std::vector<std::vector<std::optional<double>>> ratios = {};  // [layers][stages]
  std::vector<std::pair<Stage, double>> outside = {};           // the layers
  bool empty() const { return layers.empty() && outside.empty(); }
};

using Block = std::variant<Heading, Paragraph, List, Table, Preformatted, NoiseMap>;
using Document = std::vector<Block>;

List plain_list(const std::vector<std::string>& sentences);

/// Every text made printable (base/printable.h): what a document says comes from bundles and model files,
/// which may hold anything. Each printer does this first.
Document printable(Document document);

/// Blocks with a blank line between each two. A bar or a line break in a cell stays within it.
std::string to_markdown(const Document& document);

/// As b3_31_analysis.txt has it: headings without marks, lists with "-", tables as in Markdown.
std::string to_text(const Document& document);

/// Tables stand apart from what is above them, unless it is their heading.
/// Lines of at most `columns`, but for words that are longer (a path must stay whole) and for preformatted
/// ones; with `colour` tones are shown by ANSI colours.
std::string to_terminal(const Document& document, size_t columns, bool colour);

}  // namespace greta::report
