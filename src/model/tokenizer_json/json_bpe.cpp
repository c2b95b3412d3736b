#include "model/tokenizer_json/json_bpe.h"

#include "base/error.h"
#include "base/utf8.h"
#include "io/json_fields.h"
#include "model/gguf_cursor.h"

namespace greta {

void JsonBpe::refuse_other_kinds(const TokenizerJson& json) {
  const auto model = json.rest.find("model");
  if (model == json.rest.end()) fail_input("{}: has no model", json.path);
  // Before 0.9 the type was not written.
  const std::string type = Fields(*model, json.path + ": model").text_or("type", "BPE");
  if (type != "BPE")
    fail_input("{}: model is {}; of tokenizer.json GRETA knows BPE", json.path, excerpt(type));
  if (json.texts.empty()) fail_input("{}: model.vocab has no tokens", json.path);
}

JsonBpe::JsonBpe(const TokenizerJson& json, const Vocab& vocab) : vocab_(vocab) {
  refuse_other_kinds(json);
  const Fields fields(json.rest["model"], json.path + ": model");
  if (fields.number("dropout").value_or(0) != 0) fields.fail("dropout", "leaves merges out at random");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (!fields.text_or(affix, "").empty()) fields.fail(affix, "is not supported");
  }
  in_model_ = json.in_model;
  fuse_unknown_ = fields.boolean_or("fuse_unk", false);
  byte_fallback_ = fields.boolean_or("byte_fallback", false);
  ignore_merges_ = fields.boolean_or("ignore_merges", false);
  if (fields.has("unk_token")) {
    unknown_ = find(fields.text("unk_token"));
    if (!unknown_) fields.fail("unk_token", "is not a token");
  }
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte)
    byte_ids_[byte] = find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  read_merges(json);
}

std::optional<TokenId> JsonBpe::find(std::string_view text) const {
  const auto id = vocab_.find(text);
  return id && static_cast<size_t>(*id) < in_model_.size() && in_model_[static_cast<size_t>(*id)]
             ? id
             : std::nullopt;
}

void JsonBpe::read_merges(const TokenizerJson& json) {
  merges_.reserve(json.merges.size());
  for (size_t i = 0; i < json.merges.size(); ++i) {
    const auto& [left, right] = json.merges[i];
    const auto id = [&](const std::string& text) {
      const auto found = find(text);
      if (!found || text.empty())
        fail_input("{}: model.merges[{}] needs '{}', which is not a token", json.path, i, excerpt(text));
      return *found;
    };
    const TokenId left_id = id(left), right_id = id(right);
    merges_.add(left_id, right_id, id(left + right));
  }
}

bool JsonBpe::add_bytes(std::string_view character, std::vector<TokenId>& symbols) const {
  for (const char byte : character) {
    if (byte_ids_[static_cast<unsigned char>(byte)] < 0) return false;
  }
  for (const char byte : character) symbols.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  return true;
}

void JsonBpe::encode(std::string_view word, std::vector<TokenId>& ids) const {
  if (ignore_merges_) {
    if (const auto whole = find(word)) return ids.push_back(*whole);
  }
  std::vector<TokenId> symbols;
  bool unknown_waits = false;  // until the next character that has a token: byte tokens overtake it
  const auto put_unknown = [&] {
    if (unknown_waits) symbols.push_back(*unknown_);
    unknown_waits = false;
  };
  for (size_t at = 0; at < word.size();) {
    const std::string_view character = word.substr(at, std::max<size_t>(utf8_length(word, at), 1));
    at += character.size();
    if (const auto id = find(character)) {
      put_unknown();
      symbols.push_back(*id);
    } else if (!(byte_fallback_ && add_bytes(character, symbols)) && unknown_) {
      if (!fuse_unknown_) put_unknown();
      unknown_waits = true;
    }
  }
  put_unknown();
  merges_.apply(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

void JsonBpe::encode_byte(unsigned char byte, std::string_view letter, std::vector<TokenId>& ids) const {
  if (byte_fallback_ && byte_ids_[byte] >= 0) return ids.push_back(byte_ids_[byte]);
  if (const auto id = find(letter)) return ids.push_back(*id);
  if (unknown_) ids.push_back(*unknown_);
}

}  // namespace greta
