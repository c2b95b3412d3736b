#include "report/layout.h"

#include <algorithm>

namespace greta::report {
namespace {

bool continues_character(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

}  // namespace

size_t width(std::string_view text) {
  return text.size() - static_cast<size_t>(std::count_if(text.begin(), text.end(), continues_character));
}

std::string fit(std::string text, size_t columns) {
  if (width(text) <= columns) return text + std::string(columns - width(text), ' ');
  while (width(text) >= columns) {
    while (text.size() > 1 && continues_character(text.back())) text.pop_back();
    text.pop_back();
  }
  return text + "~";
}

std::string wrap(std::string_view indent, std::string_view text, size_t hang, size_t columns) {
  std::string result, line(indent);
  bool empty = true;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    if (!empty && width(line) + 1 + width(word) > columns) {
      result += line + "\n";
      line.assign(hang, ' ');
      empty = true;
    }
    if (!empty) line += ' ';
    line += word;
    empty = false;
  }
  return result + line + "\n";
}

}  // namespace greta::report
