#include "model/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <limits>

#include "base/error.h"
#include "model/gguf.h"
#include "model/pretokenizer.h"
#include "model_files.h"
#include "tiny_tokenizer.h"

namespace greta {
namespace {

using test::GgufBuilder, test::tiny_bpe, test::tiny_spm, test::tokenizer_of;
using testing::ElementsAre, testing::HasSubstr;
using Ids = std::vector<TokenId>;

std::string error_of(const GgufBuilder& file) {
  try {
    tokenizer_of(file);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    return error.what();
  }
  return "no error";
}

// --- Goldens: llama.cpp's ids (tests/goldens/tokenizer*.json), without BOS, special tokens parsed ---

void expect_goldens(const std::string& model) {
  GRETA_SKIP_WITHOUT(model);
  const Tokenizer tokenizer = Tokenizer::from(open_gguf(test::model_path(model)));
  for (const auto* file : {"tokenizer.json", "tokenizer_more.json"}) {
    const auto cases = test::golden(file)[model];
    ASSERT_GE(cases.size(), 50u);
    for (const auto& entry : cases) {
      const auto text = entry["text"].get<std::string>();
      EXPECT_EQ(tokenizer.encode(text, false), entry["ids"].get<Ids>()) << model << ": " << entry["text"];
    }
  }
}

TEST(TokenizerGolden, SmolLM2) { expect_goldens("smollm2"); }
TEST(TokenizerGolden, Gemma3) { expect_goldens("gemma3"); }
TEST(TokenizerGolden, Qwen2) { expect_goldens("qwen2"); }

TEST(TokenizerGolden, SmolLM2KnowsItsSpecialTokens) {
  GRETA_SKIP_WITHOUT("smollm2");
  const Tokenizer tokenizer = Tokenizer::from(open_gguf(test::model_path("smollm2")));
  EXPECT_EQ(tokenizer.vocab_size(), 49152);
  EXPECT_FALSE(tokenizer.adds_bos());
  EXPECT_EQ(tokenizer.bos(), 1);
  EXPECT_EQ(tokenizer.find("<|im_end|>"), 2);
  EXPECT_TRUE(tokenizer.ends_generation(2));   // <|im_end|>
  EXPECT_TRUE(tokenizer.ends_generation(0));   // <|endoftext|>
  EXPECT_FALSE(tokenizer.ends_generation(1));  // <|im_start|>
  EXPECT_EQ(tokenizer.piece(2), "");
  EXPECT_EQ(tokenizer.piece(2, true), "<|im_end|>");
}

TEST(TokenizerGolden, Gemma3AddsBosAndKeepsHtmlTagsApartFromEnds) {
  GRETA_SKIP_WITHOUT("gemma3");
  const Tokenizer tokenizer = Tokenizer::from(open_gguf(test::model_path("gemma3")));
  EXPECT_EQ(tokenizer.encode("Hi", true), (Ids{2, 10979}));
  EXPECT_TRUE(tokenizer.ends_generation(*tokenizer.find("<end_of_turn>")));
  EXPECT_FALSE(tokenizer.ends_generation(*tokenizer.find("</s>")));
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("  two  spaces\n\n\n", false)), "  two  spaces\n\n\n");
}

// --- Byte-level BPE ---

TEST(Bpe, MergesInTheOrderOfRanksThenFromTheLeft) {
  const Tokenizer t = tokenizer_of(tiny_bpe());
  EXPECT_THAT(t.encode("aab", false), ElementsAre(test::kAa, 'b'));  // a a comes before a b
  EXPECT_THAT(t.encode("aaa", false), ElementsAre(test::kAa, 'a'));
  EXPECT_THAT(t.encode("aaaa", false), ElementsAre(test::kAaaa));
  EXPECT_THAT(t.encode("aaab", false), ElementsAre(test::kAa, test::kAb));
  EXPECT_THAT(t.encode("a b", false), ElementsAre('a', ' ', 'b'));  // words do not merge
  EXPECT_THAT(t.encode("", false), ElementsAre());
}

TEST(Bpe, LongWordsAreNotQuadratic) {
  const Tokenizer t = tokenizer_of(tiny_bpe());
  const std::string word(1 << 20, 'a');  // quadratic would be 10^12 steps
  EXPECT_EQ(t.encode(word, false), Ids(word.size() / 4, test::kAaaa));
  const std::string spaces(1 << 20, ' ');
  EXPECT_EQ(t.encode(spaces, false), Ids(spaces.size(), ' '));
}

TEST(Bpe, BytesThatAreNotUtf8AreTokensOfTheirOwn) {
  const Tokenizer t = tokenizer_of(tiny_bpe());
  EXPECT_THAT(t.encode("aa\xff\xc3(\xf0\x9f", false), ElementsAre(test::kAa, 0xff, 0xc3, '(', 0xf0, 0x9f));
  EXPECT_THAT(t.encode("\xed\xa0\x80", false), ElementsAre(0xed, 0xa0, 0x80));  // a surrogate
  EXPECT_THAT(t.encode("\xc0\x80", false), ElementsAre(0xc0, 0x80));            // overlong
}

TEST(Bpe, BytesWithoutATokenAddNothing) {
  auto vocab = tiny_bpe();
  test::TinyVocab tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.add(byte == 'q' ? "<hole>" : test::byte_letter(byte));
  tokens.write(vocab);
  vocab.set_strings("tokenizer.ggml.merges", {});
  vocab.erase("tokenizer.ggml.bos_token_id").erase("tokenizer.ggml.eos_token_id");
  EXPECT_THAT(tokenizer_of(vocab).encode("aqb", false), ElementsAre('a', 'b'));
}

TEST(Bpe, Llama3TakesAWordThatIsATokenWhole) {
  test::TinyVocab tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.add(test::byte_letter(byte));
  const TokenId whole = tokens.add("aab");  // no merge makes it
  auto file = tiny_bpe();
  tokens.write(file);
  file.set_strings("tokenizer.ggml.merges", {});
  EXPECT_THAT(tokenizer_of(file.set_string("tokenizer.ggml.pre", "gpt-2")
                               .erase("tokenizer.ggml.bos_token_id")
                               .erase("tokenizer.ggml.eos_token_id"))
                  .encode("aab", false),
              ElementsAre('a', 'a', 'b'));
  file.set_string("tokenizer.ggml.pre", "llama-bpe").set("tokenizer.ggml.bos_token_id", uint32_t{0});
  const Tokenizer t = tokenizer_of(file);
  EXPECT_THAT(t.encode("aab", false), ElementsAre(whole));
  EXPECT_TRUE(t.adds_bos());  // Llama 3's way where the header does not say
}

RC_GTEST_PROP(Bpe, DecodeUndoesEncodeForAnyBytes, (const std::string& bytes, bool parse_special)) {
  static const Tokenizer t = tokenizer_of(tiny_bpe());
  RC_ASSERT(t.decode(t.encode(bytes, false, parse_special)) == bytes);
}

/// Text out of the pieces that the tokenizers treat specially.
/// (Not U+2581: SentencePiece gives it back as a space.)
std::string awkward_text() {
  std::string text;
  for (const auto& part :
       *rc::gen::container<std::vector<std::string>>(rc::gen::elementOf(std::vector<std::string>{
           "a",    "aa",       "b",      "x",   "y",  " ", "  ", "\n", "\r\n",   "\t",     "<b>",
           "<s>",  "<|e|>",    "<|e|>>", "<|e", "|>", "<", "'s", "7",  "\u00e9", "\u3000", "\xf0\x9f\x99\x82",
           "\xff", "\xe2\x96", "!"}))) {
    text += part;
  }
  return text;
}

RC_GTEST_PROP(Bpe, DecodeUndoesEncodeForAwkwardText, (bool parse_special)) {
  static const Tokenizer t = tokenizer_of(tiny_bpe());
  const std::string text = awkward_text();
  RC_ASSERT(t.decode(t.encode(text, false, parse_special)) == text);
}

// --- Pre-tokenizers ---

std::vector<std::string_view> words(std::string_view kind, std::string_view text) {
  return PreTokenizer(*find_pre_tokenizer(kind)).split(text);
}

TEST(PreTokenizer, SplitsAsItsModelDoes) {
  EXPECT_THAT(words("gpt-2", "it's 12a  b\n\n c!!"),
              ElementsAre("it", "'s", " 12", "a", " ", " b", "\n\n", " c", "!!"));
  EXPECT_THAT(words("smollm", "x12  3"), ElementsAre("x", "1", "2", "  ", "3"));  // digits come first
  EXPECT_THAT(words("llama-bpe", "12345IT'S\r\n\n x."),
              ElementsAre("123", "45", "IT", "'S", "\r\n\n", " x", "."));
  EXPECT_THAT(words("qwen2", "12 (x)!\n\n"), ElementsAre("1", "2", " (", "x", ")!\n\n"));
  EXPECT_THAT(words("default", "a,b12345"), ElementsAre("a", ",", "b", "123", "45"));
  EXPECT_THAT(words("gpt-4o", "camelCase's"), ElementsAre("camel", "Case's"));
  EXPECT_THAT(words("falcon", "a1234"), ElementsAre("a", "123", "4"));
  EXPECT_THAT(words("bloom", "a, b1"), ElementsAre("a", ",", " b1"));
  EXPECT_THAT(words("kimi-k2", "ab\u4e2d\u6587CamelCase 1234"),
              ElementsAre("ab", "\u4e2d\u6587", "Camel", "Case", " ", "123", "4"));
  EXPECT_THAT(words("seed-coder", "x12!\n"), ElementsAre("x", "1", "2", "!", "\n"));
  EXPECT_THAT(words("deepseek-llm", "a b\n12!"), ElementsAre("a", " b", "\n", "12", "!"));
  EXPECT_THAT(words("deepseek-coder", "a b\n12!"), ElementsAre("a", " b", "\n", "1", "2", "!"));
}

TEST(PreTokenizer, WhiteSpaceAndNumbersAreUnicodes) {
  EXPECT_THAT(words("gpt-2", "a\u0085\u0085b"), ElementsAre("a", "\u0085", "\u0085", "b"));
  EXPECT_THAT(words("gpt-2", "\u3000\u00a0x"), ElementsAre("\u3000", "\u00a0", "x"));
  EXPECT_THAT(words("gpt-2", "a\u180e!"), ElementsAre("a", "\u180e!"));                  // not white space
  EXPECT_THAT(words("qwen2", "'\u017fx"), ElementsAre("'\u017fx"));                      // long s is no 's
  EXPECT_THAT(words("qwen2", "\U0001d2c0\u0663"), ElementsAre("\U0001d2c0", "\u0663"));  // Kaktovik, Arabic
}

TEST(PreTokenizer, WordsTileAnyBytes) {
  const std::string_view text = "ab\xff\xfe c\xe2\x96 \xf0\x9f\x99\x82";
  for (const auto kind : {"gpt-2", "smollm", "llama-bpe", "qwen2", "default", "gpt-4o", "tekken", "falcon",
                          "qwen35", "deepseek-v3"}) {
    std::string joined;
    for (const auto word : words(kind, text)) joined += word;
    EXPECT_EQ(joined, text) << kind;
  }
}

// --- Special tokens ---

TEST(SpecialTokens, AreFoundInTheTextLongestFirst) {
  const Tokenizer t = tokenizer_of(tiny_bpe());
  EXPECT_THAT(t.encode("a<|e|>b", false), ElementsAre('a', test::kEnd, 'b'));
  EXPECT_THAT(t.encode("<|e|>>", false), ElementsAre(test::kEndLong));
  EXPECT_THAT(t.encode("<|e|><|e|>>", false), ElementsAre(test::kEnd, test::kEndLong));
  EXPECT_THAT(t.encode("<|e|<|e|>", false),
              ElementsAre('<', '|', 'e', '|', test::kEnd));  // the first is unfinished
  EXPECT_THAT(t.encode("<s><b>", false), ElementsAre(test::kBos, test::kTag));
}

TEST(SpecialTokens, OverlapsGoToTheLongerOne) {
  auto file = tiny_bpe();
  test::TinyVocab tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.add(test::byte_letter(byte));
  const TokenId ab = tokens.add("[a][b]", 3), bcd = tokens.add("[b][c][d]", 3), a = tokens.add("[a]", 3);
  tokens.write(file);
  file.set_strings("tokenizer.ggml.merges", {});
  const Tokenizer t =
      tokenizer_of(file.erase("tokenizer.ggml.bos_token_id").erase("tokenizer.ggml.eos_token_id"));
  EXPECT_THAT(t.encode("[a][b][c][d]", false), ElementsAre(a, bcd));
  EXPECT_THAT(t.encode("[a][b][a]", false), ElementsAre(ab, a));
}

TEST(SpecialTokens, AreTextWhenNotParsedUnlessUserDefined) {
  const Tokenizer t = tokenizer_of(tiny_bpe());
  EXPECT_THAT(t.encode("<s>", false, false), ElementsAre('<', 's', '>'));
  EXPECT_THAT(t.encode("<b>", false, false), ElementsAre(test::kTag));
}

TEST(SpecialTokens, AreHiddenFromOutputUnlessShown) {
  const Tokenizer t = tokenizer_of(tiny_bpe());
  const Ids ids{test::kBos, 'a', test::kTag, test::kEnd};
  EXPECT_EQ(t.decode(ids), "<s>a<b><|e|>");
  EXPECT_EQ(t.decode(ids, false), "a<b>");
  EXPECT_EQ(t.piece(test::kEnd), "");
  EXPECT_TRUE(t.ends_generation(test::kEnd));
  EXPECT_FALSE(t.ends_generation(-1));
  EXPECT_THROW(t.decode(Ids{263}), Error);
  EXPECT_THROW(t.piece(-1), Error);
}

TEST(SpecialTokens, Phi3SwallowsTheSpaceAfterThem) {
  auto file = tiny_bpe();
  EXPECT_THAT(tokenizer_of(file).encode("<|e|> \na", false), ElementsAre(test::kEnd, ' ', '\n', 'a'));
  file.set_string("general.name", "Phi-3 mini");
  EXPECT_THAT(tokenizer_of(file).encode("<|e|> \na", false), ElementsAre(test::kEnd, 'a'));
  EXPECT_THAT(tokenizer_of(file).encode("<s> a", false), ElementsAre(test::kBos, ' ', 'a'));
}

TEST(SpecialTokens, BosComesFirstWhereTheHeaderAsks) {
  auto file = tiny_bpe();
  EXPECT_THAT(tokenizer_of(file).encode("a", true), ElementsAre('a'));
  file.set("tokenizer.ggml.add_bos_token", true);
  EXPECT_THAT(tokenizer_of(file).encode("a", true), ElementsAre(test::kBos, 'a'));
  EXPECT_THAT(tokenizer_of(file).encode("a", false), ElementsAre('a'));
  EXPECT_THAT(error_of(file.erase("tokenizer.ggml.bos_token_id")), HasSubstr("bos_token_id is missing"));
}

// --- SentencePiece ---

TEST(SentencePiece, MergesTheBestScoreFirstAndPutsASpaceBefore) {
  const Tokenizer t = tokenizer_of(tiny_spm());
  EXPECT_THAT(t.encode("x", true), ElementsAre(test::kSpmBos, test::kSpaceX));
  EXPECT_THAT(t.encode("xyx", false), ElementsAre(test::kSpace, test::kXy, test::kX));  // xy before yx and _x
  EXPECT_THAT(t.encode("yx", false), ElementsAre(test::kSpace, test::kYx));
  EXPECT_THAT(t.encode("", false), ElementsAre());
  EXPECT_THAT(t.encode("x<s>x<b>x", false),
              ElementsAre(test::kSpaceX, test::kSpmBos, test::kSpaceX, test::kSpmTag,
                          test::kSpaceX));  // after each special token
}

TEST(SentencePiece, SpacePrefixIsTheHeadersChoice) {
  const Tokenizer t = tokenizer_of(tiny_spm().set("tokenizer.ggml.add_space_prefix", false));
  EXPECT_THAT(t.encode("x x", false), ElementsAre(test::kX, test::kSpaceX));
}

TEST(SentencePiece, FallsBackToBytesThenToUnknown) {
  auto file = tiny_spm().set("tokenizer.ggml.add_space_prefix", false);
  const TokenId byte = test::kSpmByte;
  EXPECT_THAT(tokenizer_of(file).encode("x\u00e9\xff\xe2x", false),
              ElementsAre(test::kX, byte + 0xc3, byte + 0xa9, byte + 0xff, byte + 0xe2, test::kX));
  EXPECT_EQ(tokenizer_of(file).decode(Ids{byte + 0xc3, byte + 0xa9}), "\u00e9");
  test::TinyVocab tokens;
  tokens.add("<unk>", 2), tokens.add("x", 1, -1), tokens.add("<s>", 3);
  tokens.write(file);
  file.set_array("tokenizer.ggml.scores", tokens.scores);
  EXPECT_THAT(tokenizer_of(file).encode("xz", false), ElementsAre(1));  // no byte tokens, no unknown: nothing
  file.set("tokenizer.ggml.unknown_token_id", uint32_t{0});
  EXPECT_THAT(tokenizer_of(file).encode("xz", false), ElementsAre(1, 0));
}

TEST(SentencePiece, LongTextIsNotQuadratic) {
  const Tokenizer t = tokenizer_of(tiny_spm().set("tokenizer.ggml.add_space_prefix", false));
  std::string text;
  for (int i = 0; i < 1 << 19; ++i) text += "xy";
  EXPECT_EQ(t.encode(text, false), Ids(text.size() / 2, test::kXy));
}

RC_GTEST_PROP(SentencePiece, DecodeUndoesEncode, (bool parse_special, bool prefix)) {
  const Tokenizer t = tokenizer_of(tiny_spm().set("tokenizer.ggml.add_space_prefix", prefix));
  const std::string text = awkward_text();
  RC_ASSERT(t.decode(t.encode(text, false, parse_special)) == text);
}

// --- Headers that are wrong: one clear line each ---

TEST(TokenizerHeader, UnknownKindsAreNamedWithTheKnownOnes) {
  EXPECT_THAT(error_of(tiny_bpe().set_string("tokenizer.ggml.model", "bert")), HasSubstr("'bert'"));
  EXPECT_THAT(error_of(tiny_bpe().set_string("tokenizer.ggml.model", "bert")),
              HasSubstr("known: gpt2, llama, gemma4"));
  EXPECT_THAT(error_of(tiny_bpe().erase("tokenizer.ggml.model")),
              HasSubstr("tokenizer.ggml.model is missing"));
  EXPECT_THAT(error_of(tiny_bpe().set_string("tokenizer.ggml.pre", "martian")), HasSubstr("'martian'"));
  EXPECT_THAT(error_of(tiny_bpe().set_string("tokenizer.ggml.pre", "martian")), HasSubstr("smollm"));
  EXPECT_EQ(error_of(tiny_bpe().erase("tokenizer.ggml.pre")), "no error");  // llama.cpp's default
}

TEST(TokenizerHeader, ArraysThatDisagreeAreRefused) {
  EXPECT_THAT(error_of(tiny_bpe().set_array<int32_t>("tokenizer.ggml.token_type", {1, 1})),
              HasSubstr("2 elements"));
  EXPECT_THAT(
      error_of(tiny_bpe().set_array<float>("tokenizer.ggml.token_type", std::vector<float>(263, 1.0f))),
      HasSubstr("tokenizer.ggml.token_type"));
  EXPECT_THAT(error_of(tiny_bpe().set_array("tokenizer.ggml.token_type", std::vector<int32_t>(263, 7))),
              HasSubstr("token_type[0] is 7"));
  EXPECT_THAT(error_of(tiny_bpe().set_array<int32_t>("tokenizer.ggml.tokens", {1})), HasSubstr("tokens"));
  EXPECT_THAT(error_of(tiny_bpe().erase("tokenizer.ggml.tokens")), HasSubstr("tokens is missing"));
  EXPECT_THAT(error_of(tiny_bpe().set_strings("tokenizer.ggml.tokens", {})), HasSubstr("0 elements"));
  EXPECT_THAT(error_of(tiny_spm().set_array<float>("tokenizer.ggml.scores", {1})),
              HasSubstr("scores has 1 elements"));
  EXPECT_THAT(error_of(tiny_spm().erase("tokenizer.ggml.scores")), HasSubstr("scores is missing"));
  EXPECT_THAT(error_of(tiny_spm().set_strings("tokenizer.ggml.scores", {"1"})),
              HasSubstr("tokenizer.ggml.scores"));
  const std::vector<float> nan(266, std::numeric_limits<float>::quiet_NaN());
  EXPECT_THAT(error_of(tiny_spm().set_array("tokenizer.ggml.scores", nan)),
              HasSubstr("scores[0] is not a number"));
}

TEST(TokenizerHeader, ATextOfSeveralIdsIsTheFirstOnes) {
  auto file = tiny_spm();
  file.set_strings("tokenizer.ggml.tokens", {"<unk>", "a", "a", "b"});
  file.erase("tokenizer.ggml.token_type").erase("tokenizer.ggml.scores").erase("tokenizer.ggml.bos_token_id");
  file.set<bool>("tokenizer.ggml.add_bos_token", false)
      .set_array<float>("tokenizer.ggml.scores", {0, 0, 0, 0});
  for (const char* key : {"eos", "unknown", "eot", "eom"})
    file.erase(fmt::format("tokenizer.ggml.{}_token_id", key));
  const Tokenizer t = tokenizer_of(file);
  EXPECT_EQ(t.find("a"), 1);
  EXPECT_EQ(t.decode(std::vector<TokenId>{1, 2}), "aa");
}

TEST(TokenizerHeader, TokensAndMergesThatMakeNoSenseAreRefused) {
  const auto with_token = [](std::string text) {
    return tiny_spm()
        .set_strings("tokenizer.ggml.tokens", {"a", std::move(text)})
        .erase("tokenizer.ggml.token_type");
  };
  EXPECT_THAT(error_of(with_token("\xff")), HasSubstr("tokens[1] is not UTF-8"));
  EXPECT_THAT(error_of(with_token(std::string(1 << 20, 'x'))), HasSubstr("tokens[1] has 1048576 bytes"));
  const auto with_merge = [](std::string merge) {
    return tiny_bpe().set_strings("tokenizer.ggml.merges", {merge});
  };
  EXPECT_THAT(error_of(with_merge("a zz")), HasSubstr("merges[0] needs 'zz'"));
  EXPECT_THAT(error_of(with_merge("a z\nz")), HasSubstr("merges[0] needs 'z\\x0az'"));  // one line
  EXPECT_THAT(error_of(with_merge("b b")), HasSubstr("merges[0] needs 'bb'"));
  for (const char* merge : {"", "a", "a ", " a"})
    EXPECT_THAT(error_of(with_merge(merge)), HasSubstr("merges[0] is"));
  EXPECT_THAT(error_of(tiny_bpe().erase("tokenizer.ggml.merges")), HasSubstr("merges is missing"));
  EXPECT_THAT(error_of(tiny_bpe().set_array<int32_t>("tokenizer.ggml.merges", {1})), HasSubstr("merges"));
  EXPECT_THAT(error_of(tiny_bpe().set("tokenizer.ggml.bos_token_id", uint32_t{263})),
              HasSubstr("bos_token_id"));
}

/// Gemma 4's kind: bytes as of SentencePiece, merges by rank as of BPE, a run of line ends a word of its own.
/// Ids: bytes are 1 + b; then U+2581, x, y, xy, U+2581 x, a line end, and two of them.
TEST(Tokenizer, MergesCharactersByRank) {
  test::TinyVocab vocab;
  vocab.add("<bos>", 3);
  for (int byte = 0; byte < 256; ++byte) vocab.add(fmt::format("<0x{:02X}>", byte), 6);
  const TokenId space = vocab.add("\u2581"), x = vocab.add("x"), y = vocab.add("y"), xy = vocab.add("xy");
  const TokenId space_x = vocab.add("\u2581x"), line = vocab.add("\n"), lines = vocab.add("\n\n");
  test::GgufBuilder file;
  vocab.write(file);
  file.set_string("tokenizer.ggml.model", "gemma4").set_strings("tokenizer.ggml.merges", {"x y", "\u2581 x"});
  file.set("tokenizer.ggml.bos_token_id", uint32_t{0});
  const Tokenizer tokenizer = test::tokenizer_of(file);
  const auto ids = [&](std::string_view text) { return tokenizer.encode(text, false); };
  EXPECT_TRUE(tokenizer.adds_bos());
  EXPECT_EQ(ids("x y"), (std::vector<TokenId>{x, space, y}));
  EXPECT_EQ(ids("xy x"), (std::vector<TokenId>{xy, space_x}));
  EXPECT_EQ(ids(" xy"), (std::vector<TokenId>{space, xy}));  // the lower rank first
  EXPECT_EQ(ids("x\n\nx\n\n\n"), (std::vector<TokenId>{x, lines, x, line, line, line}));
  EXPECT_EQ(ids("\u00e9"), (std::vector<TokenId>{1 + 0xc3, 1 + 0xa9}));
  EXPECT_EQ(tokenizer.decode(ids("x \u00e9\n xy")), "x \u00e9\n xy");
}

}  // namespace
}  // namespace greta
