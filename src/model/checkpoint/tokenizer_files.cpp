#include "model/checkpoint/tokenizer_files.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/mapped_file.h"
#include "io/json_fields.h"
#include "model/gguf_cursor.h"
#include "model/vocab.h"

namespace greta {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

bool has_file(const fs::path& path) {
  std::error_code none;
  return fs::exists(path, none);
}

/// The document, or null where there is no such file.
json read_optional(const fs::path& path) {
  if (!has_file(path)) return {};
  const MappedFile file(path.string());
  json document = parse_json(file.text(), path.string());
  if (!document.is_object())
    fail_input("{}: expected a JSON object, found {}", path.string(), document.type_name());
  return document;
}

bool is_byte_token(std::string_view text) {
  return text.size() == 6 && text.starts_with("<0x") && text.ends_with('>') &&
         text.substr(3, 2).find_first_not_of("0123456789ABCDEF") == text.npos;
}

/// Texts and kinds of all rows.
void add_tokens(const TokenizerJson& tokenizer, uint64_t rows, MetadataBuilder& metadata) {
  const json model = tokenizer.rest.value("model", json::object());
  const bool bytes =
      model.is_object() && model.contains("byte_fallback") && model["byte_fallback"] == json(true);
  const size_t count = rows == 0 ? tokenizer.texts.size() : rows;
  std::vector<std::string> texts(
      tokenizer.texts.begin(),
      tokenizer.texts.begin() + static_cast<std::ptrdiff_t>(std::min(count, tokenizer.texts.size())));
  std::vector<int32_t> kinds;
  texts.resize(count);
  for (size_t i = 0; i < count; ++i) {
    TokenKind kind = TokenKind::normal;
    if (bytes && is_byte_token(texts[i])) kind = TokenKind::byte;
    if (texts[i].empty()) kind = TokenKind::unused, texts[i] = fmt::format("[PAD{}]", i);
    kinds.push_back(static_cast<int32_t>(kind));
  }
  for (const AddedToken& token : tokenizer.added) {
    const auto at = static_cast<size_t>(token.id);
    if (at < count)
      kinds[at] = static_cast<int32_t>(token.special ? TokenKind::control : TokenKind::user_defined);
  }
  metadata.set_texts("tokenizer.ggml.tokens", std::move(texts));
  metadata.set_numbers("tokenizer.ggml.token_type", kinds);
}

/// A token of tokenizer_config.json: its text, or an object that has it.
std::string named_token(const json& config, const char* name) {
  const auto found = config.find(name);
  if (found == config.end()) return {};
  if (found->is_string()) return found->get<std::string>();
  const auto content = found->is_object() ? found->find("content") : found->end();
  return found->is_object() && content != found->end() && content->is_string() ? content->get<std::string>()
                                                                               : std::string();
}

/// The ids that a number or a list gives.
std::vector<uint64_t> ids_of(const json& config, const char* name) {
  std::vector<uint64_t> ids;
  const auto found = config.is_object() ? config.find(name) : config.end();
  if (!config.is_object() || found == config.end()) return ids;
  for (const json& id : found->is_array() ? *found : json::array({*found})) {
    if (id.is_number_unsigned()) ids.push_back(id.get<uint64_t>());
  }
  return ids;
}

class SpecialIds {
 public:
  SpecialIds(const TokenizerJson& tokenizer, uint64_t rows, MetadataBuilder& metadata)
      : tokenizer_(tokenizer), rows_(rows), metadata_(metadata) {}

  void set(std::string_view kind, std::optional<uint64_t> id) {
    if (id && *id < rows_) metadata_.set(fmt::format("tokenizer.ggml.{}_token_id", kind), *id);
  }

  std::optional<uint64_t> id_of(const std::string& text) const {
    if (text.empty()) return std::nullopt;
    for (const AddedToken& token : tokenizer_.added) {
      if (token.text == text) return static_cast<uint64_t>(token.id);
    }
    const auto found = std::ranges::find(tokenizer_.texts, text);
    if (found == tokenizer_.texts.end()) return std::nullopt;
    return static_cast<uint64_t>(found - tokenizer_.texts.begin());
  }

 private:
  const TokenizerJson& tokenizer_;
  uint64_t rows_;
  MetadataBuilder& metadata_;
};

/// A file of its own, or a field: a text, or a list of named ones.
std::optional<std::string> chat_template(const fs::path& directory, const json& config) {
  const fs::path own = directory / "chat_template.jinja";
  if (has_file(own)) return std::string(MappedFile(own.string()).text());
  const auto found = config.is_object() ? config.find("chat_template") : config.end();
  if (!config.is_object() || found == config.end()) return std::nullopt;
  if (found->is_string()) return found->get<std::string>();
  if (!found->is_array()) return std::nullopt;
  for (const json& named : *found) {
    if (named.is_object() && named.contains("name") && named["name"] == json("default") &&
        named.contains("template") && named["template"].is_string())
      return named["template"].get<std::string>();
  }
  return std::nullopt;
}

}  // namespace

std::shared_ptr<const TokenizerJson> read_tokenizer_files(const std::string& directory, const json& config,
                                                          uint64_t rows, MetadataBuilder& metadata) {
  const fs::path folder(directory);
  const json settings = read_optional(folder / "tokenizer_config.json");
  if (const auto text = chat_template(folder, settings)) metadata.set_text("tokenizer.chat_template", *text);
  const fs::path path = folder / "tokenizer.json";
  if (!has_file(path)) return nullptr;
  const MappedFile file(path.string());
  auto tokenizer = std::make_shared<TokenizerJson>(parse_tokenizer_json(file.text(), path.string()));
  if (tokenizer->texts.empty()) return tokenizer;
  add_tokens(*tokenizer, rows, metadata);
  SpecialIds special(*tokenizer, rows == 0 ? tokenizer->texts.size() : rows, metadata);
  const json generation = read_optional(folder / "generation_config.json");
  const auto first = [](const std::vector<uint64_t>& ids) {
    return ids.empty() ? std::nullopt : std::optional(ids.front());
  };
  const auto bos = settings.is_object() ? special.id_of(named_token(settings, "bos_token")) : std::nullopt;
  special.set("bos", bos ? bos : first(ids_of(config, "bos_token_id")));
  // A model may end its turn by several tokens; the tokenizer names one.
  std::vector<uint64_t> ends;
  if (settings.is_object()) {
    if (const auto eos = special.id_of(named_token(settings, "eos_token"))) ends.push_back(*eos);
  }
  for (const json* source : {&generation, &config}) {
    for (const uint64_t id : ids_of(*source, "eos_token_id")) {
      if (std::ranges::find(ends, id) == ends.end()) ends.push_back(id);
    }
  }
  constexpr std::string_view kEnds[] = {"eos", "eot", "eom"};
  for (size_t i = 0; i < std::min(ends.size(), std::size(kEnds)); ++i) special.set(kEnds[i], ends[i]);
  for (const char* flag : {"add_bos_token", "add_eos_token"}) {
    if (settings.is_object() && settings.contains(flag) && settings[flag].is_boolean())
      metadata.set(fmt::format("tokenizer.ggml.{}", flag), settings[flag].get<bool>());
  }
  return tokenizer;
}

}  // namespace greta
