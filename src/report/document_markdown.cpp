// Documents as Markdown, and as the plain text that shares its lists and tables.

#include <fmt/format.h>

#include "report/document.h"
#include "report/noise_map.h"

namespace greta::report {
namespace {

/// A bar would end the cell, a lone ` would open code that runs on into the next one. (A line break is no
/// longer there: printable().)
std::string in_cell(std::string_view text) {
  std::string cell;
  for (const char c : text) {
    if (c == '|' || c == '`') cell += '\\';
    cell += c;
  }
  return cell;
}

/// `strong` stands around the text of items that have notes.
std::string lines_of(const List& list, std::string_view strong) {
  std::string text;
  int number = 0;
  for (const Item& item : list.items) {
    const std::string mark = list.numbered ? fmt::format("{}.", ++number) : "-";
    const std::string_view around = item.notes.empty() ? "" : strong;
    text += fmt::format("{} {}{}{}\n", mark, around, item.text, around);
    for (const std::string& note : item.notes)
      text += fmt::format("{}- {}\n", std::string(mark.size() + 1, ' '), note);
  }
  return list.more.empty() ? text : text + fmt::format("- {}\n", list.more);
}

/// Heads of one line each: a group's stands before each of its columns'.
std::vector<std::string> heads_of(const Table& table) {
  std::vector<std::string> heads;
  for (const Column& column : table.columns) heads.push_back(in_cell(column.head));
  size_t at = 0;
  for (const ColumnGroup& group : table.groups) {
    for (size_t i = 0; i < group.columns; ++i, ++at) {
      const bool both = !group.head.empty() && !heads[at].empty();
      heads[at] = in_cell(group.head) + (both ? " " : "") + heads[at];
    }
  }
  return heads;
}

/// `strong` as for a list: a table has no place for notes, so that they are one below it.
std::string lines_of(const Table& table, std::string_view strong) {
  std::string text = "|", rule = "|";
  for (const std::string& head : heads_of(table)) text += fmt::format(" {} |", head);
  for (const Column& column : table.columns) rule += column.align == Align::right ? "---:|" : "---|";
  text += "\n" + rule + "\n";
  for (const std::vector<TableCell>& row : table.rows) {
    text += "|";
    for (const TableCell& cell : row) text += fmt::format(" {} |", in_cell(cell.text));
    text += "\n";
  }
  List notes;
  for (const auto& [row, lines] : table.notes) notes.items.push_back({table.rows[row].front().text, lines});
  return notes.items.empty() ? text : text + "\n" + lines_of(notes, strong);
}

struct Markdown {
  std::string operator()(const Heading& heading) const {
    return fmt::format("{} {}\n", std::string(static_cast<size_t>(heading.level), '#'), heading.text);
  }
  std::string operator()(const Paragraph& paragraph) const {
    if (paragraph.lead.empty()) return paragraph.text + "\n";
    return fmt::format("**{}** - {}\n", paragraph.lead, paragraph.text);
  }
  std::string operator()(const List& list) const { return lines_of(list, "**"); }
  std::string operator()(const Table& table) const { return lines_of(table, "**"); }
  std::string operator()(const Preformatted& lines) const {
    return fmt::format("```\n{}{}```\n", lines.text, lines.text.ends_with('\n') ? "" : "\n");
  }
  std::string operator()(const NoiseMap& map) const {
    return fmt::format("{}\n\n{}", map.caption, (*this)(Preformatted{drawn(map)}));
  }
};

struct PlainText {
  std::string operator()(const Heading& heading) const { return "\n" + heading.text + "\n"; }
  std::string operator()(const Paragraph& paragraph) const {
    if (paragraph.lead.empty()) return paragraph.text + "\n";
    return fmt::format("\n{}: {}\n", paragraph.lead, paragraph.text);
  }
  std::string operator()(const List& list) const { return lines_of(list, ""); }
  std::string operator()(const Table& table) const { return "\n" + lines_of(table, ""); }
  std::string operator()(const Preformatted& lines) const { return "\n" + lines.text; }
  std::string operator()(const NoiseMap& map) const {
    return fmt::format("\n{}\n\n{}", map.caption, drawn(map));
  }
};

}  // namespace

// What stands below a heading of level 3 is folded, as on the page.
std::string to_markdown(const Document& document) {
  std::string text;
  bool folded = false;
  for (const Block& block : printable(document)) {
    const Heading* heading = std::get_if<Heading>(&block);
    if (heading != nullptr && folded) text += "\n</details>\n";
    if (heading != nullptr) folded = heading->level == 3;
    const std::string lines = heading != nullptr && folded
                                  ? fmt::format("<details>\n<summary>{}</summary>\n", heading->text)
                                  : std::visit(Markdown{}, block);
    if (lines.empty()) continue;  // a list of nothing
    if (!text.empty()) text += '\n';
    text += lines;
  }
  return folded ? text + "\n</details>\n" : text;
}

std::string to_text(const Document& document) {
  std::string text;
  for (const Block& block : printable(document)) text += std::visit(PlainText{}, block);
  return text.starts_with('\n') ? text.substr(1) : text;
}

}  // namespace greta::report
