#include "model/tokenizer_json/json_tokenizer.h"

#include <charconv>
#include <limits>

#include "base/error.h"
#include "base/utf8.h"
#include "io/json_fields.h"
#include "model/bpe.h"
#include "model/gguf_cursor.h"
#include "model/space_mark.h"

namespace greta {
namespace {

using nlohmann::json;

const json& part_of(const TokenizerJson& document, const char* name) {
  static const json none;
  const auto found = document.rest.find(name);
  return found == document.rest.end() ? none : *found;
}

TokenId checked_id(const json& id, const Vocab& vocab, const std::string& where) {
  if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= vocab.size())
    fail_input("{}: {} is no token's id", where, excerpt(dump_json(id)));
  return id.get<TokenId>();
}

}  // namespace

JsonTokenizer::JsonTokenizer(const TokenizerJson& document, const ModelFile& file, const Vocab& vocab)
    : vocab_(vocab),
      normalizer_(part_of(document, "normalizer"), document.path + ": normalizer"),
      splitter_(part_of(document, "pre_tokenizer"), document.path + ": pre_tokenizer"),
      bpe_(document, vocab) {
  for (const AddedToken& token : document.added) {
    if (token.id >= vocab.size()) continue;  // the model has no row for it
    if (utf8_valid_prefix(token.text) != token.text.size()) continue;
    token.normalized ? normalized_.add(token, normalizer_(token.text)) : raw_.add(token, token.text);
  }
  read_post_processor(part_of(document, "post_processor"), document.path + ": post_processor");
  // tokenizer_config.json has the last word.
  const auto says = [&](std::string_view flag, std::string_view id, std::vector<TokenId>& ids) {
    const auto adds = file.find_bool(flag);
    if (!adds) return;
    const auto token = file.find_uint(id, std::numeric_limits<int32_t>::max());
    ids.clear();
    if (*adds && token) ids.push_back(static_cast<TokenId>(*token));
  };
  says("tokenizer.ggml.add_bos_token", "tokenizer.ggml.bos_token_id", prefix_);
  says("tokenizer.ggml.add_eos_token", "tokenizer.ggml.eos_token_id", suffix_);
  read_decoder(part_of(document, "decoder"), document.path + ": decoder");
}

void JsonTokenizer::read_post_processor(const json& of, const std::string& where) {
  if (of.is_null()) return;
  const Fields fields(of, where);
  const std::string type = fields.text("type");
  if (type == "ByteLevel") return;  // of offsets only
  if (type == "Sequence") {
    const auto parts = of.find("processors");
    if (parts == of.end() || !parts->is_array()) fields.fail("processors", "must be a list");
    for (const json& part : *parts) read_post_processor(part, where);
    return;
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {  // [text, id]
    const auto id = [&](const char* name) {
      const auto pair = of.find(name);
      if (pair == of.end() || !pair->is_array() || pair->size() != 2)
        fields.fail(name, "must be a token and its id");
      return checked_id((*pair)[1], vocab_, where);
    };
    prefix_ = {id("cls")}, suffix_ = {id("sep")};
    return;
  }
  if (type != "TemplateProcessing") fail_input("{}: GRETA does not know {}", where, excerpt(type));
  const auto single = of.find("single"), special = of.find("special_tokens");
  if (single == of.end() || !single->is_array()) fields.fail("single", "must be a list");
  std::vector<TokenId>* to = &prefix_;
  for (const json& item : *single) {
    if (!item.is_object()) fields.fail("single", "must be a list of objects");
    if (item.contains("Sequence")) {
      if (to == &suffix_) fields.fail("single", "has the text twice");
      to = &suffix_;
      continue;
    }
    const auto token = item.find("SpecialToken");
    const std::string name = token == item.end() ? "" : Fields(*token, where).text_or("id", "");
    const auto found =
        special == of.end() || !special->is_object() ? json::const_iterator() : special->find(name);
    if (special == of.end() || !special->is_object() || found == special->end() || !found->is_object() ||
        !found->contains("ids") || !(*found)["ids"].is_array())
      fail_input("{}: special_tokens has no ids of '{}'", where, excerpt(name));
    for (const json& id : (*found)["ids"]) to->push_back(checked_id(id, vocab_, where));
  }
}

void JsonTokenizer::read_decoder(const json& of, const std::string& where) {
  if (of.is_null()) return;
  const Fields fields(of, where);
  const std::string type = fields.text("type");
  if (type == "Sequence") {
    const auto parts = of.find("decoders");
    if (parts == of.end() || !parts->is_array()) fields.fail("decoders", "must be a list");
    for (const json& part : *parts) read_decoder(part, where);
  } else if (type == "ByteLevel") {
    letters_ = true;
  } else if (type == "Metaspace") {
    marks_ = true;
    space_prefix_ =
        fields.text_or("prepend_scheme", fields.boolean_or("add_prefix_space", true) ? "always" : "never") !=
        "never";
  } else if (type == "Replace") {
    marks_ = marks_ || fields.text_or("content", "") == " ";
  } else if (type == "Strip") {
    space_prefix_ = space_prefix_ || fields.integer_or("start", 0, 1000, 0) > 0;
  }
}

void JsonTokenizer::encode(std::string_view text, bool parse_special, std::vector<TokenId>& ids) const {
  for (size_t at = 0; at < text.size();) {
    const size_t end = utf8_valid_prefix(text, at);
    if (end > at) encode_valid(text.substr(at, end - at), at == 0, parse_special, ids);
    if (end < text.size())
      bpe_.encode_byte(static_cast<unsigned char>(text[end]), Bpe::letters_of(text.substr(end, 1)), ids);
    at = end + 1;
  }
}

void JsonTokenizer::encode_valid(std::string_view text, bool at_start, bool parse_special,
                                 std::vector<TokenId>& ids) const {
  for (const TextPart& part : raw_.split(text, parse_special)) {
    if (part.id >= 0) {
      ids.push_back(part.id);
      continue;
    }
    const bool first = at_start && part.text.data() == text.data();
    const std::string normal = normalizer_(std::string(part.text));
    for (const TextPart& inner : normalized_.split(normal, parse_special)) {
      if (inner.id >= 0) {
        ids.push_back(inner.id);
        continue;
      }
      const bool begins = first && inner.text.data() == normal.data();
      for (const Word& word : splitter_({std::string(inner.text), begins})) bpe_.encode(word.text, ids);
    }
  }
}

std::string JsonTokenizer::bytes_of(TokenId id) const {
  const std::string_view text = vocab_.text(id);
  if (vocab_.kind(id) == TokenKind::byte) {
    unsigned byte = 0;
    std::from_chars(text.data() + 3, text.data() + 5, byte, 16);
    return {static_cast<char>(byte)};
  }
  if (vocab_.kind(id) == TokenKind::user_defined && !marks_) return std::string(text);
  if (letters_) return Bpe::bytes_of(text);
  return marks_ ? with_spaces(text) : std::string(text);
}

}  // namespace greta
