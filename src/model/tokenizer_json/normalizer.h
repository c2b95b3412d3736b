#pragma once
// The normalizer of tokenizer.json: what is done to a text before it is cut into words.

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace greta {

class Normalizer {
 public:
  Normalizer() = default;  // changes nothing
  /// null changes nothing, too. `where` begins the messages of input Errors: a kind that GRETA does not know.
  Normalizer(const nlohmann::json& json, const std::string& where);

  /// Of a well-formed text.
  std::string operator()(std::string text) const;

 private:
  std::vector<std::function<std::string(std::string)>> steps_;
};

}  // namespace greta
