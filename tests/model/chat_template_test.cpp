#include "model/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "model_files.h"
#include "tiny_tokenizer.h"

namespace greta {
namespace {

using testing::HasSubstr;
using Messages = std::vector<ChatMessage>;

const Messages kHi{{"user", "Hi"}};
const Messages kTurns{{"system", "Be brief."}, {"user", "Hi"}, {"assistant", "Hello!"}, {"user", "And now?"}};

/// By a model with the template, whose BOS is <s> and EOS </s>.
std::string applied(test::GgufBuilder builder, std::string_view template_text, const Messages& messages) {
  if (!template_text.empty()) builder.set_string("tokenizer.chat_template", template_text);
  const auto bytes = builder.build();
  return apply_chat_template(parse_gguf(std::as_bytes(std::span(bytes)), "tiny.gguf"), messages);
}

std::string applied(std::string_view template_text, const Messages& messages) {
  return applied(test::tiny_spm(), template_text, messages);
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

// The language is tests/jinja's matter; here, what a template is given.
TEST(ChatTemplate, HasTheMessagesAndTheAssistantsTurn) {
  EXPECT_EQ(applied("{% for m in messages %}{{ '<' + m.role + '>' + m['content'] }}{% endfor %}"
                    "{% if add_generation_prompt %}<assistant>{% endif %}",
                    kTurns),
            "<system>Be brief.<user>Hi<assistant>Hello!<user>And now?<assistant>");
}

// As transformers passes them where there are none.
TEST(ChatTemplate, HasNoToolsAndNoDocuments) {
  EXPECT_EQ(applied("{{ tools is none }} {{ documents is none }} {{ enable_thinking is defined }}", kHi),
            "True True False");
}

TEST(ChatTemplate, HasTheModelsSpecialTokens) {
  EXPECT_EQ(applied("{{ eos_token }} {{ pad_token is defined }}", kHi), "</s> False");
  auto builder = test::tiny_spm();
  builder.set("tokenizer.ggml.padding_token_id", uint32_t{0});
  EXPECT_EQ(applied(builder, "{{ pad_token }}", kHi), "<unk>");
}

// encode() puts it first where the model wants one; else the template's own stays.
TEST(ChatTemplate, LeavesOutABosThatTheTokenizerAdds) {
  EXPECT_EQ(applied("{{ bos_token }}x{{ bos_token }}", kHi), "x<s>");
  auto without = test::tiny_spm();
  without.set("tokenizer.ggml.add_bos_token", false);
  EXPECT_EQ(applied(without, "{{ bos_token }}x", kHi), "<s>x");
}

TEST(ChatTemplate, SaysWhyItRefuses) {
  EXPECT_THAT(error_of("", kHi), HasSubstr("tiny.gguf: no tokenizer.chat_template"));
  EXPECT_EQ(error_of("\n{{ messages|groupby('role') }}", kHi),
            "tiny.gguf: tokenizer.chat_template, line 2: the filter 'groupby' is not supported");
  EXPECT_THAT(error_of("x", {{"user", "caf\xe9"}}), HasSubstr("a message is not a UTF-8 text (byte 3)"));
}

// Expected texts: transformers' own of these families (tests/goldens/prompts.json has the ids of three).
TEST(ChatTemplate, AModelWithoutOneHasThatOfItsTokens) {
  const auto of_token = [](const std::string& token, const Messages& messages) {
    const auto bytes = test::GgufBuilder().set_strings("tokenizer.ggml.tokens", {"a", token}).build();
    const auto text = template_by_tokens(parse_gguf(std::as_bytes(std::span(bytes)), "tiny.gguf"));
    return text ? render_chat(*text, "T", {}, messages) : "none";
  };
  EXPECT_EQ(of_token("<|im_start|>", kTurns),
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
            "Hello!<|im_end|>\n<|im_start|>user\nAnd now?<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(of_token("<|im_sep|>", kHi),
            "<|im_start|>user<|im_sep|>Hi<|im_end|><|im_start|>assistant<|im_sep|>");
  EXPECT_EQ(of_token("<|start_header_id|>", kHi),
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_EQ(of_token("<start_of_turn>", kTurns),
            "<start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello!<end_of_turn>\n"
            "<start_of_turn>user\nAnd now?<end_of_turn>\n<start_of_turn>model\n");
  EXPECT_EQ(of_token("<s>", kHi), "none");
}

// The default system text is the template's own.
TEST(ChatTemplate, SmolLM2WritesItsDefaultSystemMessage) {
  GRETA_SKIP_WITHOUT("smollm2");
  const ModelFile file = open_gguf(test::model_path("smollm2"));
  EXPECT_EQ(
      apply_chat_template(file, kHi),
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
      "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

}  // namespace
}  // namespace greta
