#pragma once
// What people read, in the languages of the reports.

#include <string>

namespace greta {

enum class Language { english, spanish };

struct Text {
  std::string en, es;

  const std::string& in(Language language) const { return language == Language::english ? en : es; }
  bool empty() const { return en.empty() && es.empty(); }
  bool operator==(const Text&) const = default;
};

}  // namespace greta
