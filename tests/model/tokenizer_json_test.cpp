// tokenizer.json: what is computed, and what is refused. (Against PyPI's tokenizers, by the thousand:
// tokenizer_json.py.)

#include <gmock/gmock.h>

#include "base/error.h"
#include "model/chat_template.h"
#include "model/model.h"
#include "model/tokenizer.h"
#include "model/tokenizer_json/pattern.h"
#include "refusal.h"
#include "tiny_checkpoint.h"

namespace greta {
namespace {

using nlohmann::json;
using test::TinyCheckpoint;
using testing::ElementsAre;
using testing::HasSubstr;

Tokenizer tokenizer_of(const TinyCheckpoint& checkpoint) {
  return Tokenizer::from(open_model_file(checkpoint.path()));
}

std::string refusal_of(const json& tokenizer) {
  const TinyCheckpoint checkpoint;
  checkpoint.write("tokenizer.json", tokenizer.dump());
  const std::string message = test::refusal_of([&] { tokenizer_of(checkpoint); });
  EXPECT_THAT(message, HasSubstr("tokenizer.json"));
  return message;
}

TEST(TokenizerJson, MergesAddedTokensAndBos) {
  const TinyCheckpoint checkpoint;
  const Tokenizer tokenizer = tokenizer_of(checkpoint);
  EXPECT_THAT(tokenizer.encode("abc ab a", true), ElementsAre(0, 6, 4, 5, 7));  // a b before the space
  EXPECT_THAT(tokenizer.encode("a <tag> b", false), ElementsAre(1, 8, 2));      // it swallows both spaces
  EXPECT_THAT(tokenizer.encode("<s>a", false), ElementsAre(0, 1));
  EXPECT_THAT(tokenizer.encode("<s>a", false, false), ElementsAre(1));  // letters without a token add nothing
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("ab cab", false)), "ab cab");
  EXPECT_THAT(tokenizer.encode("a\xff"
                               "b",
                               false),
              ElementsAre(1, 2));
}

TEST(TokenizerJson, TheConfigHasTheLastWordOnBos) {
  const TinyCheckpoint checkpoint;
  checkpoint.write("tokenizer_config.json", R"({"add_bos_token": false, "bos_token": {"content": "<s>"}})");
  EXPECT_FALSE(tokenizer_of(checkpoint).adds_bos());
  checkpoint.write("tokenizer_config.json", R"({"add_eos_token": true, "eos_token": "c"})");
  EXPECT_THAT(tokenizer_of(checkpoint).encode("a", true), ElementsAre(0, 1, 3));
}

TEST(TokenizerJson, TheChatTemplateIsTheModelsOwn) {
  const TinyCheckpoint checkpoint;
  checkpoint.write("tokenizer_config.json", R"({"chat_template": [{"name": "default", "template": "one"}]})");
  const auto text = [&] {
    return std::string(
        open_model_file(checkpoint.path()).find_string("tokenizer.chat_template").value_or(""));
  };
  EXPECT_EQ(text(), "one");
  checkpoint.write("chat_template.jinja", "two");
  EXPECT_EQ(text(), "two");
}

TEST(TokenizerJson, WhatIsNotKnownIsRefused) {
  const auto with = [](const std::string& pointer, const json& value) {
    json tokenizer = test::tiny_tokenizer_json();
    tokenizer[json::json_pointer(pointer)] = value;
    return refusal_of(tokenizer);
  };
  EXPECT_THAT(with("/model", {{"type", "Unigram"}, {"vocab", json::array()}}), HasSubstr("model is Unigram"));
  EXPECT_THAT(with("/normalizer", {{"type", "Precompiled"}}), HasSubstr("the normalizer Precompiled"));
  EXPECT_THAT(with("/pre_tokenizer", {{"type", "UnicodeScripts"}}),
              HasSubstr("the pre-tokenizer UnicodeScripts"));
  EXPECT_THAT(with("/post_processor", {{"type", "New"}}), HasSubstr("New"));
  EXPECT_THAT(with("/model/dropout", 0.1), HasSubstr("dropout"));
  EXPECT_THAT(with("/model/end_of_word_suffix", "</w>"), HasSubstr("end_of_word_suffix"));
  EXPECT_THAT(with("/model/merges/0", "a x"), HasSubstr("merges[0] needs 'x'"));
  EXPECT_THAT(with("/model/merges/0", "abc"), HasSubstr("merges[0] is not a pair"));
  EXPECT_THAT(with("/model/merges/0", json::array({"a"})), HasSubstr("merges[0] is not a pair"));
  EXPECT_THAT(with("/model/vocab/a", 1 << 30), HasSubstr("has the id 1073741824"));
  EXPECT_THAT(with("/model/vocab/a", 2), HasSubstr("the id 2 has two tokens"));
  EXPECT_THAT(with("/added_tokens/0/id", -1), HasSubstr("added_tokens[0]"));
  EXPECT_THAT(with("/pre_tokenizer/pretokenizers/0/pattern/Regex", "(a"),
              HasSubstr("a parenthesis is not closed"));
  EXPECT_THAT(with("/pre_tokenizer/pretokenizers/0/pattern/Regex", "(*NO_JIT)a"), HasSubstr("a verb"));
  EXPECT_THAT(with("/pre_tokenizer/pretokenizers/0/behavior", "Odd"), HasSubstr("behavior"));
}

TEST(TokenizerJson, AModelWithoutOneIsRefusedWhereItIsNeeded) {
  const TinyCheckpoint checkpoint;
  checkpoint.remove("tokenizer.json");
  EXPECT_NO_THROW(open_model(checkpoint.path()));
  EXPECT_THAT([&] { tokenizer_of(checkpoint); },
              testing::ThrowsMessage<Error>(HasSubstr("has no tokenizer.json")));
  checkpoint.write("tokenizer.json", "[");
  EXPECT_THAT([&] { tokenizer_of(checkpoint); }, testing::ThrowsMessage<Error>(HasSubstr("not valid JSON")));
}

/// Whether each character of a text is in a match.
std::string matched(std::string_view pattern, std::string_view text) {
  std::string marks;
  for (const Stretch& part : Pattern(pattern, "test").stretches(text))
    marks.append(part.end - part.begin, part.matches ? 'x' : '.');
  return marks;
}

TEST(TokenizerJson, ExpressionsAreOnigurumas) {
  EXPECT_EQ(matched(R"(\s+$)", "a \nb "), ".x..x");              // $ is a line's
  EXPECT_EQ(matched(R"(^\d{1,2}+a)", "12345a"), "xxxxxx");       // a + after an interval repeats it
  EXPECT_EQ(matched(R"([a-z&&[^bc]]+)", "abcd"), "x..x");        // an intersection
  EXPECT_EQ(matched(R"([^(\s|[.,])]+)", "a.b|c d"), "x.x.x.x");  // a class in a class
  EXPECT_EQ(matched(R"([^\S\n]+)", " \n\t"), "x.x");
  EXPECT_EQ(matched(R"(\h+)", "xfF0g"), ".xxx.");  // a hexadecimal digit
  EXPECT_EQ(matched(R"(\u0061)", "ba"), ".x");
  EXPECT_EQ(matched(R"(\s)", "\u180e"), "...");     // no white space since Unicode 6.3
  EXPECT_EQ(matched(R"(\w)", "\u2160"), "xxx");     // a Roman number
  EXPECT_EQ(matched(R"(\p{L})", "\u1c89"), "xxx");  // of Unicode 16
  EXPECT_EQ(matched(R"((?=b))", "abc"), "...");     // empty matches cut nothing
}

TEST(TokenizerJson, AnExpressionThatTakesTooLongIsStopped) {
  const Pattern slow(R"((a+)+[bc])", "test");
  EXPECT_THAT([&] { slow.stretches(std::string(40, 'a')); },
              testing::ThrowsMessage<Error>(HasSubstr("needs more than 1000000 steps")));
}

}  // namespace
}  // namespace greta
