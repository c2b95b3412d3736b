#include "launch/errand.h"

#include <string_view>

namespace greta::launch {
namespace {

/// A list, 1,2,3.
std::string with_item(std::string_view list, std::string_view from, std::string_view to) {
  std::string made;
  for (size_t at = 0;;) {
    const size_t comma = list.find(',', at);
    const std::string_view item = list.substr(at, comma - at);
    made += item == from ? to : item;
    if (comma == std::string_view::npos) return made;
    made += ',';
    at = comma + 1;
  }
}

}  // namespace

std::vector<std::string> with_path(std::vector<std::string> arguments, const std::string& from,
                                   const std::string& to) {
  for (std::string& word : arguments) {
    const size_t equals = word.starts_with("--") ? word.find('=') : std::string::npos;
    const size_t begin = equals == std::string::npos ? 0 : equals + 1;
    const std::string value = word.substr(begin);
    word.replace(begin, std::string::npos, value == from ? to : with_item(value, from, to));
    if (word == "-m" + from) word = "-m" + to;
  }
  return arguments;
}

}  // namespace greta::launch
