#include "report/html.h"

#include <fmt/format.h>

#include <array>

#include "base/printable.h"
#include "report/noise_map.h"

namespace greta::report {
namespace {

constexpr std::array kToneNames = {"plain", "good", "bad", "unsure"};  // Tone: a class of the style

std::string_view tone_name(Tone tone) { return kToneNames[static_cast<size_t>(tone)]; }

std::string entities(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string notes_of(const std::vector<std::string>& notes) {
  std::string text;
  for (const std::string& note : notes) text += fmt::format("<li>{}</li>", html_words(note));
  return text.empty() ? text : fmt::format("<ul>{}</ul>", text);
}

struct Printer {
  std::string operator()(const Heading& heading) const {
    return fmt::format("<h{0}>{1}</h{0}>\n", heading.level, html_words(heading.text));
  }

  std::string operator()(const Paragraph& paragraph) const {
    if (paragraph.lead.empty()) return fmt::format("<p>{}</p>\n", html_words(paragraph.text));
    return fmt::format("<p><strong class=\"{}\">{}</strong> {}</p>\n", tone_name(paragraph.tone),
                       html_words(paragraph.lead), html_words(paragraph.text));
  }

  std::string operator()(const List& list) const {
    std::string items;
    for (const Item& item : list.items) {
      const std::string_view around = item.notes.empty() ? "span" : "strong";
      items +=
          fmt::format("<li><{0}>{1}</{0}>{2}</li>\n", around, html_words(item.text), notes_of(item.notes));
    }
    if (!list.more.empty()) items += fmt::format("<li>{}</li>\n", html_words(list.more));
    return items.empty() ? items : fmt::format("<{0}>\n{1}</{0}>\n", list.numbered ? "ol" : "ul", items);
  }

  std::string operator()(const Table& table) const {
    std::string rows;
    for (size_t i = 0; i < table.rows.size(); ++i) {
      rows += "<tr>";
      for (size_t j = 0; j < table.rows[i].size(); ++j)
        rows += cell("td", table.rows[i][j].text, table.columns[j].align, table.rows[i][j].tone);
      rows += "</tr>\n";
      if (const auto notes = table.notes.find(i); notes != table.notes.end())
        rows += fmt::format("<tr class=\"note\"><td colspan=\"{}\">{}</td></tr>\n", table.columns.size(),
                            notes_of(notes->second));
    }
    std::string heads;
    for (const Column& column : table.columns) heads += cell("th", column.head, column.align, Tone::plain);
    return fmt::format(
        "<div class=\"wide\"><table>\n<thead>{}<tr>{}</tr></thead>\n<tbody>\n{}</tbody></table></div>\n",
        groups_of(table), heads, rows);
  }

  std::string operator()(const Preformatted& lines) const {
    return fmt::format("<pre>{}</pre>\n", entities(lines.text));
  }

  std::string operator()(const NoiseMap& map) const {
    return fmt::format("<p>{}</p>\n<pre>{}</pre>\n", html_words(map.caption), entities(drawn(map)));
  }

 private:
  static std::string cell(std::string_view kind, std::string_view text, Align align, Tone tone) {
    std::string classes(align == Align::right ? "right" : "");
    if (tone != Tone::plain) classes += (classes.empty() ? "" : " ") + std::string(tone_name(tone));
    if (!classes.empty()) classes = fmt::format(" class=\"{}\"", classes);
    return fmt::format("<{0}{1}>{2}</{0}>", kind, classes, html_words(text));
  }

  static std::string groups_of(const Table& table) {
    std::string heads;
    for (const ColumnGroup& group : table.groups)
      heads += fmt::format("<th colspan=\"{}\">{}</th>", group.columns, html_words(group.head));
    return heads.empty() ? heads : fmt::format("<tr>{}</tr>", heads);
  }
};

}  // namespace

std::string html_text(std::string_view text) { return entities(greta::printable(text)); }

std::string html_words(std::string_view text) {
  std::string out = html_text(text);
  size_t from = 0;
  for (;;) {
    const size_t open = out.find('`', from);
    const size_t close = open == std::string::npos ? open : out.find('`', open + 1);
    if (close == std::string::npos) return out;
    const std::string code = fmt::format("<code>{}</code>", out.substr(open + 1, close - open - 1));
    out.replace(open, close - open + 1, code);
    from = open + code.size();
  }
}

std::string to_html(const Document& document) {
  std::string text;
  bool folded = false;
  for (const Block& block : printable(document)) {
    const Heading* heading = std::get_if<Heading>(&block);
    if (heading != nullptr && folded) {
      text += "</details>\n";
      folded = false;
    }
    if (heading != nullptr && heading->level == 3) {
      text += fmt::format("<details><summary>{}</summary>\n", html_words(heading->text));
      folded = true;
    } else {
      text += std::visit(Printer{}, block);
    }
  }
  return folded ? text + "</details>\n" : text;
}

}  // namespace greta::report
