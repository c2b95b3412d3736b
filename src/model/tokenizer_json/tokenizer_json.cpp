#include "model/tokenizer_json/tokenizer_json.h"

#include <limits>

#include "base/error.h"
#include "io/json_fields.h"
#include "model/gguf_cursor.h"

namespace greta {
namespace {

using nlohmann::json;

constexpr int kDeepest = 64;
constexpr size_t kMostHoles = 1 << 16;  // ids without a token

/// Takes the long lists out of the document while it is read.
class ListReader {
 public:
  explicit ListReader(TokenizerJson& to) : to_(to) {}

  bool operator()(int depth, json::parse_event_t event, json& value) {
    if (depth > kDeepest) fail_input("{}: JSON is nested deeper than {} levels", to_.path, kDeepest);
    using Event = json::parse_event_t;
    if (event == Event::key && depth <= 2) (depth == 1 ? section_ : list_) = value.get<std::string>();
    if (depth < 3 || section_ != "model") return true;
    if (list_ == "vocab") return vocab(depth, event, value);
    if (list_ == "merges") return merge(depth, event, value);
    return true;
  }

  std::vector<std::pair<std::string, int64_t>> tokens;

 private:
  /// {"text": id}; of other models than BPE a list, which nobody reads.
  bool vocab(int depth, json::parse_event_t event, json& value) {
    using Event = json::parse_event_t;
    if (event == Event::key && depth == 3) key_ = std::move(value.get_ref<std::string&>());
    if (event == Event::value && depth == 3 && value.is_number_integer() && !key_.empty())
      tokens.emplace_back(std::exchange(key_, {}), value.get<int64_t>());
    return false;
  }

  /// "left right", or ["left", "right"].
  bool merge(int depth, json::parse_event_t event, json& value) {
    using Event = json::parse_event_t;
    if (event == Event::array_start && depth == 3) {
      pair_.clear();
      return true;  // or what is in it would be passed over
    }
    if (event == Event::array_end && depth == 3) {
      if (pair_.size() != 2) bad_merge();
      to_.merges.emplace_back(std::move(pair_[0]), std::move(pair_[1]));
      return false;
    }
    if (event != Event::value) bad_merge();
    if (!value.is_string()) bad_merge();
    std::string text = std::move(value.get_ref<std::string&>());
    if (depth > 3) {
      pair_.push_back(std::move(text));
      return false;
    }
    const size_t space = text.find(' ');
    if (space == text.npos || text.find(' ', space + 1) != text.npos) bad_merge();
    to_.merges.emplace_back(text.substr(0, space), text.substr(space + 1));
    return false;
  }

  [[noreturn]] void bad_merge() const {
    fail_input("{}: model.merges[{}] is not a pair of tokens", to_.path, to_.merges.size());
  }

  TokenizerJson& to_;
  std::string section_, list_, key_;
  std::vector<std::string> pair_;
};

std::vector<AddedToken> read_added(const json& document, const std::string& path) {
  std::vector<AddedToken> all;
  const auto found = document.find("added_tokens");
  if (found == document.end() || found->is_null()) return all;
  if (!found->is_array()) fail_input("{}: added_tokens is no list", path);
  for (size_t i = 0; i < found->size(); ++i) {
    const Fields fields((*found)[i], fmt::format("{}: added_tokens[{}]", path, i));
    AddedToken token;
    token.id = static_cast<TokenId>(fields.integer("id", 0, std::numeric_limits<int32_t>::max()));
    token.text = fields.text("content");
    token.single_word = fields.boolean_or("single_word", false);
    token.strips_left = fields.boolean_or("lstrip", false);
    token.strips_right = fields.boolean_or("rstrip", false);
    token.special = fields.boolean_or("special", false);
    token.normalized = fields.boolean_or("normalized", !token.special);
    all.push_back(std::move(token));
  }
  return all;
}

void place(TokenizerJson& to, std::string text, int64_t id, size_t most) {
  if (id < 0 || static_cast<size_t>(id) >= most)
    fail_input("{}: the token '{}' has the id {}; there are {} tokens", to.path, excerpt(text), id,
               most - kMostHoles);
  const auto at = static_cast<size_t>(id);
  if (at >= to.texts.size()) to.texts.resize(at + 1);
  if (!to.texts[at].empty() && to.texts[at] != text)
    fail_input("{}: the id {} has two tokens, '{}' and '{}'", to.path, id, excerpt(to.texts[at]),
               excerpt(text));
  to.texts[at] = std::move(text);
}

}  // namespace

TokenizerJson parse_tokenizer_json(std::string_view text, const std::string& path) {
  TokenizerJson result;
  result.path = path;
  ListReader reader(result);
  try {
    result.rest = json::parse(text.begin(), text.end(), std::ref(reader));
  } catch (const json::exception& error) {
    fail_input("{}: not valid JSON: {}", path, excerpt(error.what()));
  }
  if (!result.rest.is_object())
    fail_input("{}: expected a JSON object, found {}", path, result.rest.type_name());
  result.added = read_added(result.rest, path);
  result.rest.erase("added_tokens");
  const size_t most = reader.tokens.size() + result.added.size() + kMostHoles;
  for (auto& [token, id] : reader.tokens) place(result, std::move(token), id, most);
  result.in_model.resize(result.texts.size());
  for (size_t i = 0; i < result.texts.size(); ++i) result.in_model[i] = !result.texts[i].empty();
  for (const AddedToken& token : result.added) place(result, token.text, token.id, most);
  return result;
}

}  // namespace greta
