#include "report/document.h"

#include "base/printable.h"

namespace greta::report {
namespace {

void clean(std::string& text) { text = greta::printable(text); }

struct Clean {
  void operator()(Heading& heading) const { clean(heading.text); }
  void operator()(Paragraph& paragraph) const {
    clean(paragraph.lead);
    clean(paragraph.text);
  }
  void operator()(List& list) const {
    for (Item& item : list.items) {
      clean(item.text);
      for (std::string& note : item.notes) clean(note);
    }
    clean(list.more);
  }
  void operator()(Table& table) const {
    for (Column& column : table.columns) clean(column.head);
    for (ColumnGroup& group : table.groups) clean(group.head);
    for (std::vector<TableCell>& row : table.rows) {
      for (TableCell& cell : row) clean(cell.text);
    }
    for (auto& [row, notes] : table.notes) {
      for (std::string& note : notes) clean(note);
    }
  }
  void operator()(Preformatted& lines) const { lines.text = printable_lines(lines.text); }
  void operator()(NoiseMap& map) const { clean(map.caption); }
};

}  // namespace

Document printable(Document document) {
  for (Block& block : document) std::visit(Clean{}, block);
  return document;
}

List plain_list(const std::vector<std::string>& sentences) {
  List list;
  for (const std::string& sentence : sentences) list.items.push_back({sentence});
  return list;
}

}  // namespace greta::report
