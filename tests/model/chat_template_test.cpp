#include "model/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "model/gguf.h"
#include "model_files.h"
#include "tiny_tokenizer.h"

namespace greta {
namespace {

using testing::HasSubstr;
using Messages = std::vector<ChatMessage>;

const Messages kHi{{"user", "Hi"}};
const Messages kTurns{{"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Hello!"}, {"user", "And now?"}};

/// By the family of a template of which `template_text` has the marks.
std::string rendered(std::string_view template_text, const Messages& messages) {
  const auto bytes = test::tiny_spm().build();  // <s> and </s> are BOS and EOS
  return apply_chat_family(chat_family(template_text), template_text,
                           parse_gguf(std::as_bytes(std::span(bytes)), "tiny.gguf"), messages);
}

/// By a whole template.
std::string applied(std::string_view template_text, const Messages& messages) {
  auto builder = test::tiny_spm();
  if (!template_text.empty()) builder.set_string("tokenizer.chat_template", template_text);
  const auto bytes = builder.build();
  return apply_chat_template(parse_gguf(std::as_bytes(std::span(bytes)), "tiny.gguf"), messages);
}

std::string error_of(std::string_view template_text, const Messages& messages) {
  try {
    applied(template_text, messages);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    return error.what();
  }
  return "no error";
}

// Expected texts: what Jinja2 3.1 renders from the whole templates of which these have the marks.

TEST(ChatTemplate, ChatMl) {
  constexpr auto text =
      "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}";
  EXPECT_EQ(rendered(text, kTurns),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nAnd "
            "now?<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(rendered(text, kHi), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, DefaultSystemMessageIsReadFromTheTemplate) {
  constexpr auto rest = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n";
  for (const char* literal :
       {R"({{ '<|im_start|>system\nIt\'s me.<|im_end|>\n' }})",           // an escaped newline
        "{{ '<|im_start|>system\nIt\\'s me.<|im_end|>\n' }}",             // a real one
        R"({{- "<|im_start|>system\nIt's me.<|im_end|>\n" }})",           // the other quotes
        "{% if x %}<|im_start|>system\nIt's me.<|im_end|>\n{% endif %}",  // no quotes
        R"({{'<|im_start|>system\n' + m + '<|im_end|>'}}{{'<|im_start|>system\nIt\'s me.<|im_end|>'}})"}) {
    EXPECT_EQ(rendered(literal, kHi), std::string("<|im_start|>system\nIt's me.<|im_end|>\n") + rest)
        << literal;
    EXPECT_THAT(rendered(literal, kTurns), testing::StartsWith("<|im_start|>system\nBe brief.<|im_end|>"))
        << literal;
  }
}

TEST(ChatTemplate, Phi4) {
  EXPECT_EQ(rendered("<|im_start|><|im_sep|>", kHi),
            "<|im_start|>user<|im_sep|>Hi<|im_end|><|im_start|>assistant<|im_sep|>");
}

constexpr auto kLlama3 = "'<|start_header_id|>' + role + '<|end_header_id|>' + content | trim + '<|eot_id|>'";

TEST(ChatTemplate, Llama3) {
  EXPECT_EQ(rendered(kLlama3, {{"system", "Be brief."}, {"user", " Hi\n"}}),
            "<|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|><|start_header_id|>assistant<|end_"
            "header_id|>\n\n");
  // Llama 3.1 dates every conversation.
  const std::string dated = std::string(kLlama3) + R"({% set date_string = "1 May 2025" %})"
                                                   R"({{- "Cutting Knowledge Date: December 2023\n" }})";
  EXPECT_EQ(rendered(dated, kHi),
            "<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n"
            "Today Date: 1 May 2025\n\n<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
}

TEST(ChatTemplate, Gemma) {
  EXPECT_EQ(rendered("'<start_of_turn>' + role + content | trim + '<end_of_turn>'", kTurns),
            "<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
            "<start_of_turn>user\nAnd now?<end_of_turn>\n<start_of_turn>model\n");
}

TEST(ChatTemplate, Llama2) {
  EXPECT_EQ(rendered("'[INST] ' '<<SYS>>' ' [/INST]'", kTurns),
            "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello! </s><s>[INST] And now? [/INST]");
}

TEST(ChatTemplate, MistralReadsItsSpacesFromTheTemplate) {
  EXPECT_EQ(rendered("' [INST] ' + system_message + ' [/INST]' ' ' + message['content'] + eos_token", kTurns),
            " [INST] Be brief.\n\nHi [/INST] Hello!</s> [INST] And now? [/INST]");
  EXPECT_EQ(
      rendered("loop.last and system_message '[INST]' '[/INST]' message['content'] + eos_token", kTurns),
      "[INST]Hi[/INST]Hello!</s>[INST]Be brief.\n\nAnd now?[/INST]");
  EXPECT_EQ(rendered("'[INST] ' '[/INST]' '[SYSTEM_PROMPT] ' ' ' + message['content'] + eos_token", kTurns),
            "[SYSTEM_PROMPT] Be brief.[/SYSTEM_PROMPT][INST] Hi[/INST] Hello!</s>[INST] And now?[/INST]");
}

TEST(ChatTemplate, Phi3AndZephyr) {
  EXPECT_EQ(rendered("'<|user|>' '<|assistant|>' '<|end|>'", {{"system", "S"}, {"user", "Hi"}}),
            "<|system|>\nS<|end|>\n<|user|>\nHi<|end|>\n<|assistant|>\n");
  EXPECT_EQ(rendered("'<|user|>' + content + eos_token '<|assistant|>'", kTurns),
            "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello!</s>\n<|user|>\nAnd now?</s>\n"
            "<|assistant|>\n");
}

TEST(ChatTemplate, WhatIsNotKnownIsRefusedWithAList) {
  EXPECT_THAT(error_of("", kHi), HasSubstr("no tokenizer.chat_template"));
  EXPECT_THAT(error_of("### Human:", kHi),
              HasSubstr("known: phi4, chatml, llama3, gemma, llama2, mistral, phi3, zephyr"));
  EXPECT_THAT(error_of(kLlama3, {{"tool", "x"}}), HasSubstr("role 'tool'"));
  EXPECT_THAT(error_of("<start_of_turn><end_of_turn>", {{"user", "a"}, {"system", "b"}}),
              HasSubstr("only come first"));
  EXPECT_EQ(chat_family("### Human:"), "");
}

// Whole templates: what differs from the family is refused with its text. Each state was checked with
// Jinja2 3.1 (chat_templates.py does so for a directory of templates).
constexpr auto kWholeChatMl =
    "{%- if tools %}{{- '<|im_start|>system\\n# Tools' }}{%- endif %}\n"
    "{%- for message in messages %}\n"
    "  {%- if message.role == 'tool' %}{{- '<tool_response>' }}{%- else %}\n"
    "  {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}\n";

std::string with(std::string_view old_text, std::string_view new_text) {
  std::string text(kWholeChatMl);
  return text.replace(text.find(old_text), old_text.size(), new_text);
}

TEST(ChatTemplate, BranchesThatNoMessageReachesAreNoDifference) {
  EXPECT_EQ(applied(kWholeChatMl, kHi), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  const auto for_assistant = with("message.role == 'tool'", "message.role == 'assistant'");
  EXPECT_EQ(applied(for_assistant, kHi), applied(kWholeChatMl, kHi));
  EXPECT_THAT(error_of(for_assistant, kTurns), HasSubstr("it may write '<tool_response>'"));
}

TEST(ChatTemplate, ATemplateThatSaysAnotherThingThanItsFamilyIsRefused) {
  EXPECT_EQ(error_of(with("'<|im_start|>assistant\\n'", "'<|im_start|>assistant\\n<think>\\n'"), kHi),
            "tiny.gguf: tokenizer.chat_template is of the family chatml, but it may write "
            "'<|im_start|>assistant\\x0a<think>\\x0a'; write the prompt out with -p");
  EXPECT_THAT(error_of(with("message.content", "message.content | trim"), kHi), HasSubstr("it trims"));
  EXPECT_THAT(error_of(with("message.content", "message.content.split('x')[0]"), kHi), HasSubstr("'split'"));
  EXPECT_THAT(error_of(with("'<|im_end|>\\n'", "'<|im_end|>'"), kHi), HasSubstr("it does not write"));
  EXPECT_THAT(error_of(with("{%- if tools %}", "{%- if not tools %}"), kHi), HasSubstr("# Tools"));
  EXPECT_THAT(error_of(with("{%- if tools %}", "{%- set tools = messages %}{%- if tools %}"), kHi),
              HasSubstr("# Tools"));
  const auto no_system = with("{%- for message",
                              "{%- if messages[0].role == 'system' %}"
                              "{{ raise_exception('none') }}{%- endif %}{%- for message");
  EXPECT_EQ(applied(no_system, kHi), applied(kWholeChatMl, kHi));
  EXPECT_THAT(error_of(no_system, kTurns), HasSubstr("raise_exception('none')"));
  EXPECT_THAT(error_of(std::string(kWholeChatMl) + std::string(1 << 18, ' '), kHi), HasSubstr("bytes"));
}

TEST(ChatTemplate, MegabytesOfMarksAreNotQuadratic) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "<|im_start|>system\\n<|im_end|> '";
  EXPECT_FALSE(rendered(text, kHi).empty());
  std::string open;
  for (int i = 0; i < 100000; ++i) open += "<|im_start|>system";
  EXPECT_EQ(rendered(open + "<|im_end|>", kHi), "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, RealModelsSmolLM2) {
  GRETA_SKIP_WITHOUT("smollm2");
  const ModelFile file = open_gguf(test::model_path("smollm2"));
  EXPECT_EQ(
      apply_chat_template(file, kHi),
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
      "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, RealModelsQwen2) {
  GRETA_SKIP_WITHOUT("qwen2");
  const ModelFile file = open_gguf(test::model_path("qwen2"));
  EXPECT_EQ(
      apply_chat_template(file, kHi),
      "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
      "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, Gemma3IsABaseModelKnownByItsTokens) {
  GRETA_SKIP_WITHOUT("gemma3");
  const ModelFile file = open_gguf(test::model_path("gemma3"));
  EXPECT_EQ(chat_family(file), "gemma");
  EXPECT_THROW(apply_chat_template(file, kHi), Error);
}

}  // namespace
}  // namespace greta
