#include "model/chat_template.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/utf8.h"
#include "jinja/template.h"
#include "model/tokenizer.h"

namespace greta {
namespace {

/// A family by a token that only its models have, and how its turns are written.
struct Family {
  std::string_view token, template_text;
};

constexpr std::array<Family, 4> kFamilies{{
    {"<|im_sep|>",
     R"({%- for m in messages %}
{{- '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}{% endfor -%}
{{ '<|im_start|>assistant<|im_sep|>' }})"},
    {"<|im_start|>",
     R"({%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor -%}
{{ '<|im_start|>assistant\n' }})"},
    {"<|start_header_id|>",
     R"({%- for m in messages %}
{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content + '<|eot_id|>' }}{% endfor -%}
{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }})"},
    // Gemma has no turn of the system's: the first one carries it.
    {"<start_of_turn>",
     R"({%- for m in messages if m.role != 'system' %}
{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}
{%- if loop.first and messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}
{{- m.content | trim + '<end_of_turn>\n' }}{% endfor -%}
{{ '<start_of_turn>model\n' }})"},
}};

/// transformers' name of a special token, and GGUF's.
constexpr std::array<std::array<std::string_view, 2>, 7> kTokens{{{"bos_token", "bos"},
                                                                  {"eos_token", "eos"},
                                                                  {"unk_token", "unknown"},
                                                                  {"sep_token", "seperator"},
                                                                  {"pad_token", "padding"},
                                                                  {"cls_token", "cls"},
                                                                  {"mask_token", "mask"}}};

std::optional<std::string> token_text(const ModelFile& file, std::string_view name) {
  const GgufArray* tokens = file.find_strings("tokenizer.ggml.tokens");
  if (tokens == nullptr || tokens->strings.empty()) return std::nullopt;
  const auto id = file.find_uint(fmt::format("tokenizer.ggml.{}_token_id", name), tokens->strings.size() - 1);
  if (!id) return std::nullopt;
  return std::string(tokens->strings[*id]);
}

bool adds_bos(const ModelFile& file) {
  const auto said = file.find_bool("tokenizer.ggml.add_bos_token");
  return said ? *said : Tokenizer::from(file).adds_bos();
}

}  // namespace

std::optional<std::string_view> template_by_tokens(const ModelFile& file) {
  const GgufArray* tokens = file.find_strings("tokenizer.ggml.tokens");
  if (tokens == nullptr) return std::nullopt;
  for (const Family& family : kFamilies) {
    if (std::ranges::find(tokens->strings, family.token) != tokens->strings.end())
      return family.template_text;
  }
  return std::nullopt;
}

std::string render_chat(std::string_view template_text, std::string_view label,
                        std::span<const std::pair<std::string, std::string>> tokens,
                        std::span<const ChatMessage> messages) {
  nlohmann::ordered_json variables{
      {"tools", nullptr}, {"documents", nullptr}, {"add_generation_prompt", true}};
  for (const auto& [name, text] : tokens) variables[name] = text;
  auto& list = variables["messages"] = nlohmann::ordered_json::array();
  for (const auto& [role, content] : messages) {
    for (const std::string& text : {role, content}) {
      const size_t valid = utf8_valid_prefix(text);
      if (valid != text.size()) fail_input("chat: a message is not a UTF-8 text (byte {})", valid);
    }
    list.push_back({{"role", role}, {"content", content}});
  }
  return jinja::render(template_text, label, variables);
}

std::string apply_chat_template(const ModelFile& file, std::span<const ChatMessage> messages) {
  const auto text = file.find_string("tokenizer.chat_template");
  if (!text) {
    fail_input("{}: no tokenizer.chat_template: the model was not made for chat; give it a plain prompt",
               file.path());
  }
  std::vector<std::pair<std::string, std::string>> tokens;
  for (const auto& [name, key] : kTokens) {
    if (auto found = token_text(file, key)) tokens.emplace_back(name, std::move(*found));
  }
  std::string prompt = render_chat(*text, file.path() + ": tokenizer.chat_template", tokens, messages);
  const auto bos = token_text(file, "bos");
  if (bos && !bos->empty() && prompt.starts_with(*bos) && adds_bos(file)) prompt.erase(0, bos->size());
  return prompt;
}

}  // namespace greta
