#include "model/prompt.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/error.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "model_files.h"
#include "tiny_tokenizer.h"

namespace greta {
namespace {

using testing::ElementsAre, testing::HasSubstr;

class PromptFile : public testing::Test {
 protected:
  std::string write(std::string_view name, std::string_view text) {
    const auto path = std::filesystem::path(testing::TempDir()) / name;
    std::ofstream(path, std::ios::binary) << text;
    written_.push_back(path);
    return path.string();
  }
  void TearDown() override {
    for (const auto& path : written_) std::filesystem::remove(path);
  }

 private:
  std::vector<std::filesystem::path> written_;
};

std::string error_of(const std::string& name) {
  try {
    load_prompt(name);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    return error.what();
  }
  return "no error";
}

TEST(Prompts, BuiltInTextsAreThoseOfTheFolder) {
  EXPECT_THAT(built_in_prompts(), ElementsAre("p0_short", "p4_sys", "p5_ba", "p6_long"));
  for (const auto name : built_in_prompts()) {
    std::ifstream file(std::string(GRETA_SOURCE_DIR) + "/prompts/" + std::string(name) + ".txt",
                       std::ios::binary);
    ASSERT_TRUE(file) << name;
    std::stringstream text;
    text << file.rdbuf();
    const Prompt prompt = load_prompt(std::string(name));
    EXPECT_EQ(prompt.id, name);
    EXPECT_EQ(prompt.text, text.str()) << name;
  }
}

// The ids of tests/goldens/prompts.json come from the models' own tokenizers and templates (transformers).
void expect_ids(const std::string& model) {
  GRETA_SKIP_WITHOUT(model);
  const ModelFile file = open_gguf(test::model_path(model));
  const Tokenizer tokenizer = Tokenizer::from(file);
  const auto prompts = test::golden("prompts.json")[model];
  ASSERT_EQ(prompts.size(), built_in_prompts().size());
  for (const auto name : built_in_prompts()) {
    const std::string id(name);
    EXPECT_EQ(tokenizer.encode(load_prompt(id, file).text, true), prompts[id].get<std::vector<TokenId>>())
        << id;
  }
}

TEST(Prompts, SmolLM2IdsAreThoseOfTheReference) { expect_ids("smollm2"); }
TEST(Prompts, Gemma3IdsAreThoseOfTheReference) { expect_ids("gemma3"); }
TEST(Prompts, Qwen2IdsAreThoseOfTheReference) { expect_ids("qwen2"); }

TEST(Prompts, TheSystemPromptFollowsTheModelsFormat) {
  const auto text_for = [](const test::GgufBuilder& builder) {
    const auto bytes = builder.build();
    return load_prompt("p4_sys", parse_gguf(std::as_bytes(std::span(bytes)), "tiny.gguf")).text;
  };
  EXPECT_EQ(text_for(test::GgufBuilder().set_strings("tokenizer.ggml.tokens", {"a", "<start_of_turn>"})),
            "<start_of_turn>user\nYou are a helpful assistant. Answer briefly.\n\nHi<end_of_turn>\n"
            "<start_of_turn>model\n");
  EXPECT_EQ(text_for(test::tiny_bpe()), load_prompt("p4_sys").text);  // nothing tells: ChatML
  EXPECT_EQ(text_for(test::tiny_bpe().set_string("tokenizer.chat_template", "<{{ messages[1].content }}>")),
            "<Hi>");
  const auto refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('none') }}{% endif %}";
  EXPECT_EQ(text_for(test::tiny_bpe().set_string("tokenizer.chat_template", refusing)),
            load_prompt("p4_sys").text);
}

TEST_F(PromptFile, IsReadByteForByte) {
  const Prompt prompt = load_prompt(write("my.prompt.txt", "línea\r\n\n"));
  EXPECT_EQ(prompt.id, "my.prompt");
  EXPECT_EQ(prompt.text, "línea\r\n\n");
}

TEST(PromptText, HasABlankAndIsNoFile) {
  const Prompt prompt = load_prompt("The port wakes, slowly");
  EXPECT_EQ(prompt.id, "text");
  EXPECT_EQ(prompt.text, "The port wakes, slowly");
  EXPECT_THAT(error_of("the port.txt"), HasSubstr("nor a file"));  // a file's name, misspelt
  EXPECT_THAT(error_of("caf\xe9 au lait"), HasSubstr("not a UTF-8 text (byte 3)"));
}

/// As a shell's <(command) is one.
TEST(PromptPipe, IsReadToItsEnd) {
  const std::string path = testing::TempDir() + "/prompt-pipe";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  std::thread writer([&path] { std::ofstream(path) << "through a pipe"; });
  EXPECT_EQ(load_prompt(path).text, "through a pipe");
  writer.join();
  std::filesystem::remove(path);
}

TEST_F(PromptFile, MustBeUtf8AndThere) {
  EXPECT_THAT(error_of(write("utf16.txt", std::string("\xff\xfeh\0", 4))), HasSubstr("save it as UTF-8"));
  EXPECT_THAT(error_of(write("binary.txt", "ab\xff")), HasSubstr("not a UTF-8 text (byte 2)"));
  EXPECT_THAT(error_of("p7_none"), HasSubstr("p0_short, p4_sys, p5_ba, p6_long"));
  EXPECT_NE(error_of(testing::TempDir()), "no error");
}

}  // namespace
}  // namespace greta
