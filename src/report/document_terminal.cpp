#include <fmt/format.h>

#include <algorithm>

#include "report/document.h"
#include "report/layout.h"
#include "report/noise_map.h"

namespace greta::report {
namespace {

class Terminal {
 public:
  Terminal(size_t columns, bool colour) : columns_(columns), colour_(colour) {}

  std::string operator()(const Heading& heading) const { return "\n" + heading.text + "\n"; }

  std::string operator()(const Paragraph& paragraph) const {
    if (paragraph.lead.empty()) return wrapped("", paragraph.text, 2);
    std::string lines = wrapped("", paragraph.lead + ": " + paragraph.text, 2);
    // One that is broken across lines, or whose blanks were joined, is not there as it was.
    if (lines.starts_with(paragraph.lead))
      lines.replace(0, paragraph.lead.size(), paint(paragraph.lead, paragraph.tone));
    return "\n" + lines;
  }

  std::string operator()(const List& list) const {
    std::string text;
    int number = 0;
    for (const Item& item : list.items) {
      text += list.numbered ? wrapped("", fmt::format("{}. {}", ++number, item.text), 3)
                            : wrapped("  ", item.text, 4);
      for (const std::string& note : item.notes) text += wrapped("   ", note, 5);
    }
    return list.more.empty() ? text : text + fmt::format("   {}\n", list.more);
  }

  std::string operator()(const Table& table) const {
    std::vector<TableCell> heads;
    for (const Column& column : table.columns) heads.emplace_back(column.head);
    const std::vector<size_t> widths = widths_of(table);
    std::string text = groups_line(table, widths) + line_of(heads, table.columns, widths);
    for (size_t i = 0; i < table.rows.size(); ++i) {
      text += line_of(table.rows[i], table.columns, widths);
      const auto notes = table.notes.find(i);
      if (notes == table.notes.end()) continue;
      for (const std::string& note : notes->second) text += std::string(table.note_indent, ' ') + note + "\n";
    }
    return text;
  }

  std::string operator()(const Preformatted& lines) const {
    std::string text;
    for (size_t at = 0; at < lines.text.size();) {
      const size_t end = std::min(lines.text.find('\n', at), lines.text.size());
      text += "  " + lines.text.substr(at, end - at) + "\n";
      at = end + 1;
    }
    return text;
  }

  std::string operator()(const NoiseMap& map) const { return "\n" + map.caption + "\n" + drawn(map); }

 private:
  std::string wrapped(std::string_view indent, std::string_view text, size_t hang) const {
    return wrap(indent, text, hang, columns_);
  }

  std::string paint(const std::string& text, Tone tone) const {
    if (!colour_ || tone == Tone::plain) return text;
    const char* code = tone == Tone::bad ? "1;31" : tone == Tone::good ? "32" : "33";
    return fmt::format("\x1b[{}m{}\x1b[0m", code, text);
  }

  static std::vector<size_t> widths_of(const Table& table) {
    std::vector<size_t> widths;
    for (size_t i = 0; i < table.columns.size(); ++i) {
      const Column& column = table.columns[i];
      size_t widest = std::max(column.least, width(column.head));
      for (const std::vector<TableCell>& row : table.rows) widest = std::max(widest, width(row[i].text));
      widths.push_back(column.width > 0 ? column.width : widest);
    }
    return widths;
  }

  /// What stands above the heads: a group is as wide as its columns together, and aligned as the first.
  std::string groups_line(const Table& table, const std::vector<size_t>& widths) const {
    std::vector<TableCell> heads;
    std::vector<Column> firsts;
    std::vector<size_t> wide;
    size_t at = 0;
    for (const ColumnGroup& group : table.groups) {
      heads.emplace_back(group.head);
      firsts.push_back(table.columns[at]);
      wide.push_back(widths[at++]);
      for (size_t i = 1; i < group.columns; ++i, ++at) wide.back() += table.columns[at].gap + widths[at];
    }
    return heads.empty() ? "" : line_of(heads, firsts, wide);
  }

  /// Numbers are never cut. Nothing is padded at the end of the line.
  std::string line_of(const std::vector<TableCell>& cells, const std::vector<Column>& columns,
                      const std::vector<size_t>& widths) const {
    std::string line;
    for (size_t i = 0; i < cells.size(); ++i) {
      const std::string& text = cells[i].text;
      const bool is_last = i + 1 == cells.size();
      std::string shown = text;
      if (columns[i].align == Align::right) {
        shown = std::string(widths[i] - std::min(widths[i], width(text)), ' ') + text;
      } else if (!is_last) {
        shown = fit(text, widths[i]);
      }
      line += std::string(i == 0 ? 0 : columns[i].gap, ' ') + paint(shown, cells[i].tone);
    }
    line.erase(line.find_last_not_of(' ') + 1);  // of cells without text
    return line + "\n";
  }

  size_t columns_;
  bool colour_;
};

}  // namespace

std::string to_terminal(const Document& document, size_t columns, bool colour) {
  std::string text;
  bool below_heading = true;
  for (const Block& block : printable(document)) {
    if (std::holds_alternative<Table>(block) && !below_heading) text += '\n';
    text += std::visit(Terminal(columns, colour), block);
    below_heading = std::holds_alternative<Heading>(block);
  }
  return text;
}

}  // namespace greta::report
