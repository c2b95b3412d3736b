#include "model/chat_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "model/chat_coverage.h"
#include "model/chat_literal.h"
#include "model/gguf_cursor.h"

namespace greta {
namespace {

using Messages = std::span<const ChatMessage>;

/// What a family's renderer may look at.
struct Context {
  std::string_view template_text;
  std::string bos, eos;  // texts of the tokens, where a format writes them between turns

  bool template_has(std::string_view mark) const { return template_text.find(mark) != template_text.npos; }
};

std::string trim(std::string_view text) {
  constexpr std::string_view space = " \t\n\v\f\r";
  const size_t first = text.find_first_not_of(space);
  if (first == text.npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(space) - first + 1));
}

std::string trim_if_asked(const Context& context, const std::string& text) {
  const bool asked =
      context.template_has("| trim") || context.template_has("|trim") || context.template_has(".strip()");
  return asked ? trim(text) : text;
}

/// The system message that comes first, if one does, taken off `messages`.
std::optional<std::string> take_system(Messages& messages) {
  std::optional<std::string> system;
  if (!messages.empty() && messages[0].role == "system") {
    system = messages[0].content;
    messages = messages.subspan(1);
  }
  for (const ChatMessage& message : messages) {
    if (message.role == "system")
      fail_input("chat: in this model's format a system message can only come first");
  }
  return system;
}

std::string chatml(const Context& context, Messages messages) {
  std::string text;
  if (messages.empty() || messages[0].role != "system") {
    const auto system = default_system_message(context.template_text, "<|im_start|>system\n", "<|im_end|>");
    if (system) text = fmt::format("<|im_start|>system\n{}<|im_end|>\n", *system);
  }
  for (const auto& [role, content] : messages) {
    text += fmt::format("<|im_start|>{}\n{}<|im_end|>\n", role, content);
  }
  return text + "<|im_start|>assistant\n";
}

std::string phi4(const Context&, Messages messages) {
  std::string text;
  for (const auto& [role, content] : messages) {
    text += fmt::format("<|im_start|>{}<|im_sep|>{}<|im_end|>", role, content);
  }
  return text + "<|im_start|>assistant<|im_sep|>";
}

std::string llama3(const Context& context, Messages messages) {
  const auto turn = [](std::string_view role, std::string_view content) {
    return fmt::format("<|start_header_id|>{}<|end_header_id|>\n\n{}<|eot_id|>", role, content);
  };
  std::string text;
  if (context.template_has("Cutting Knowledge Date: December 2023")) {
    // Llama 3.1 opens with the dates, whoever speaks first. "Today" is the template's own default, so that a
    // prompt stays the same from day to day.
    const auto today = assigned_literal(context.template_text, "date_string").value_or("26 Jul 2024");
    const auto system = trim(take_system(messages).value_or(""));
    text = turn("system",
                fmt::format("Cutting Knowledge Date: December 2023\nToday Date: {}\n\n{}", today, system));
  }
  for (const auto& [role, content] : messages) {
    text += turn(role, trim_if_asked(context, content));
  }
  return text + "<|start_header_id|>assistant<|end_header_id|>\n\n";
}

std::string gemma(const Context& context, Messages messages) {
  const auto system = take_system(messages);
  std::string prefix = system ? *system + "\n\n" : "";  // Gemma has no system turn: the first turn carries it
  const bool trims = context.template_text.empty() || context.template_has("trim");
  std::string text;
  for (const auto& [role, content] : messages) {
    text += fmt::format("<start_of_turn>{}\n{}{}<end_of_turn>\n", role == "assistant" ? "model" : role,
                        prefix, trims ? trim(content) : content);
    prefix.clear();
  }
  return text + "<start_of_turn>model\n";
}

std::string llama2(const Context& context, Messages messages) {
  const auto system = take_system(messages);
  std::string prefix = system ? fmt::format("<<SYS>>\n{}\n<</SYS>>\n\n", *system) : "";
  std::string text;
  for (const auto& [role, content] : messages) {
    if (role == "assistant") {
      text += fmt::format(" {} {}", trim(content), context.eos);
    } else {
      if (!text.empty()) text += context.bos;
      text += fmt::format("[INST] {} [/INST]", trim(prefix + content));
      prefix.clear();
    }
  }
  return text;
}

// Mistral's formats differ in spaces around the marks, and in which user turn carries the system message.
std::string mistral(const Context& context, Messages messages) {
  const bool leading = context.template_has("' [INST] ") || context.template_has("\" [INST] ");
  const auto open = leading ? " [INST] " : context.template_has("[INST] ") ? "[INST] " : "[INST]";
  const auto close = context.template_has(" [/INST]") ? " [/INST]" : "[/INST]";
  const bool spaced = context.template_has("' ' + message") || context.template_has("\" \" + message");
  const bool has_system_turn = context.template_has("[SYSTEM_PROMPT]");
  const bool system_in_last = context.template_has("loop.last and system_message");
  std::string text, prefix;
  if (const auto system = take_system(messages)) {
    const auto space = context.template_has("[SYSTEM_PROMPT] ") ? " " : "";
    if (has_system_turn)
      text = fmt::format("[SYSTEM_PROMPT]{}{}[/SYSTEM_PROMPT]", space, *system);
    else
      prefix = *system + "\n\n";
  }
  for (size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    if (role == "assistant") {
      text += fmt::format("{}{}{}", spaced ? " " : "", content, context.eos);
      continue;
    }
    const bool carries = !system_in_last || i + 1 == messages.size();
    text += fmt::format("{}{}{}{}", open, carries ? prefix : "", content, close);
    if (carries) prefix.clear();
  }
  return text;
}

std::string phi3(const Context&, Messages messages) {
  std::string text;
  for (const auto& [role, content] : messages) text += fmt::format("<|{}|>\n{}<|end|>\n", role, content);
  return text + "<|assistant|>\n";
}

std::string zephyr(const Context& context, Messages messages) {
  std::string text;
  for (const auto& [role, content] : messages) {
    text += fmt::format("<|{}|>\n{}{}\n", role, content, context.eos);
  }
  return text + "<|assistant|>\n";
}

struct Family {
  std::string_view name;
  std::array<std::string_view, 3> marks;  // all of them are in the template
  std::string_view token;  // stands for the family among the tokens of a model without a template
  std::string (*render)(const Context&, Messages);
  bool trims = true;  // where the template does
};

// In order: the first whose marks are all there.
constexpr std::array<Family, 8> kFamilies{{
    {"phi4", {"<|im_start|>", "<|im_sep|>"}, "<|im_sep|>", phi4, false},
    {"chatml", {"<|im_start|>", "<|im_end|>"}, "<|im_start|>", chatml, false},
    {"llama3", {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, "<|start_header_id|>", llama3},
    {"gemma", {"<start_of_turn>", "<end_of_turn>"}, "<start_of_turn>", gemma},
    {"llama2", {"[INST]", "[/INST]", "<<SYS>>"}, "", llama2},
    {"mistral", {"[INST]", "[/INST]"}, "", mistral},
    {"phi3", {"<|assistant|>", "<|end|>"}, "", phi3, false},
    {"zephyr", {"<|user|>", "<|assistant|>", "eos_token"}, "", zephyr, false},
}};

std::string known_families() {
  std::string names;
  for (const Family& family : kFamilies) names.append(names.empty() ? "" : ", ").append(family.name);
  return names;
}

std::string token_text(const ModelFile& file, std::string_view key) {
  const GgufArray* tokens = file.find_strings("tokenizer.ggml.tokens");
  if (!tokens || tokens->strings.empty()) return {};
  const auto id = file.find_uint(key, tokens->strings.size() - 1);
  return id ? std::string(tokens->strings[*id]) : std::string();
}

Context context_of(const ModelFile& file, std::string_view template_text) {
  return {template_text, token_text(file, "tokenizer.ggml.bos_token_id"),
          token_text(file, "tokenizer.ggml.eos_token_id")};
}

/// Refuses a template that says another thing than its family to a conversation of this shape.
void refuse_difference(const Family& family, const Context& context, const std::string& path,
                       Messages messages) {
  std::vector<ChatMessage> sample;
  std::vector<std::string> contents, roles;
  for (const ChatMessage& message : messages) {
    contents.push_back(fmt::format("({})", contents.size()));
    roles.push_back(message.role);
    sample.push_back({message.role, contents.back()});
  }
  const std::string rendering = family.render(context, sample);
  const std::vector<std::string> marks{"system", "user", "assistant", context.bos, context.eos};
  if (const auto why =
          chat_difference(context.template_text, roles, rendering, contents, marks, family.trims)) {
    fail_input("{}: tokenizer.chat_template is of the family {}, but {}; write the prompt out with -p", path,
               family.name, *why);
  }
}

}  // namespace

std::string_view chat_family(std::string_view template_text) {
  for (const Family& family : kFamilies) {
    if (std::ranges::all_of(family.marks,
                            [&](auto mark) { return template_text.find(mark) != template_text.npos; })) {
      return family.name;
    }
  }
  return {};
}

std::string_view chat_family(const ModelFile& file) {
  if (const auto text = file.find_string("tokenizer.chat_template")) return chat_family(*text);
  const GgufArray* tokens = file.find_strings("tokenizer.ggml.tokens");
  if (!tokens) return {};
  for (const Family& family : kFamilies) {
    if (!family.token.empty() && std::ranges::find(tokens->strings, family.token) != tokens->strings.end()) {
      return family.name;
    }
  }
  return {};
}

std::string apply_chat_family(std::string_view name, std::string_view template_text, const ModelFile& file,
                              Messages messages) {
  const auto family = std::ranges::find(kFamilies, name, &Family::name);
  if (family == kFamilies.end())
    fail_input("chat: format '{}' is not known; known: {}", name, known_families());
  return family->render(context_of(file, template_text), messages);
}

std::string apply_chat_template(const ModelFile& file, Messages messages) {
  const auto text = file.find_string("tokenizer.chat_template");
  if (!text) {
    fail_input("{}: no tokenizer.chat_template: the model was not made for chat; give it a plain prompt",
               file.path());
  }
  for (const ChatMessage& message : messages) {
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      fail_input("chat: role '{}' is not known; known: system, user, assistant", excerpt(message.role));
    }
  }
  const auto family = std::ranges::find(kFamilies, chat_family(*text), &Family::name);
  if (family == kFamilies.end()) {
    fail_input("{}: tokenizer.chat_template has a format that GRETA does not know; known: {}", file.path(),
               known_families());
  }
  const Context context = context_of(file, *text);
  refuse_difference(*family, context, file.path(), messages);
  return family->render(context, messages);
}

}  // namespace greta
