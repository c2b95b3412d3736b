#include "model/pretokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <map>
#include <utility>

#include "base/error.h"
#include "base/utf8.h"

namespace greta {
namespace {

// The expressions are written as the models publish them, with three changes: possessive quantifiers (++)
// where giving back could never help, classes such as [sS] in place of (?i), which would let U+017F be an s,
// and \s, \S, \p{N} and \p{M} as explicit_classes() defines them.
#define GRETA_CONTRACTIONS "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"
// A run of white space leaves its last character to the word that follows.
#define GRETA_SPACES R"(\s*[\r\n]+|\s+(?!\S)|\s+)"

constexpr std::string_view kGpt2 =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3 =
    GRETA_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|)" GRETA_SPACES;
constexpr std::string_view kQwen2 =
    GRETA_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}++|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*+|)" GRETA_SPACES;
// Combining marks stay with their letters.
constexpr std::string_view kQwen35 = GRETA_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]++|\p{N}| ?[^\s\p{L}\p{M}\p{N}]++[\r\n]*+|)" GRETA_SPACES;

// A word ends before a capital that follows small letters. A letter that is neither A-Z nor a-z counts as
// both: llama.cpp's reading of the two models' classes.
#define GRETA_CASED_WORD(TAIL)                                         \
  R"([^\r\n\p{L}\p{N}]?(?:(?=\p{L})[^a-z])*(?:(?=\p{L})[^A-Z])+)" TAIL \
  "|"                                                                  \
  R"([^\r\n\p{L}\p{N}]?(?:(?=\p{L})[^a-z])+(?:(?=\p{L})[^A-Z])*)" TAIL "|"
constexpr std::string_view kGpt4o = GRETA_CASED_WORD(
    "(?:" GRETA_CONTRACTIONS ")?") R"(\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n/]*+|)" GRETA_SPACES;
constexpr std::string_view kTekken =
    GRETA_CASED_WORD("") R"(\p{N}| ?[^\s\p{L}\p{N}]++[\r\n/]*+|)" GRETA_SPACES;

constexpr std::string_view kDigit = R"(\p{N})";
constexpr std::string_view kDigits = R"(\p{N}++)";
constexpr std::string_view kThreeDigits = R"(\p{N}{1,3}+)";
constexpr std::string_view kThreeAsciiDigits = "[0-9][0-9][0-9]";
constexpr std::string_view kPunctuation = R"([\p{P}$+<=>^~|]++)";
constexpr std::string_view kFalconPunctuation = R"([\p{P}$+<=>^~|`]++)";
constexpr std::string_view kCjk = R"([\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]++)";
constexpr std::string_view kDeepSeekV3 =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]++|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]++)"
    R"(| ?[\p{P}\p{S}]++[\r\n]*+|)" GRETA_SPACES;

// DeepSeek LLM's letters: those that have a case, less some scripts.
constexpr std::string_view kDeepSeekLetters =
    R"(\s?[)"
    R"(A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293})"
    R"(\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a})"
    R"(\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556})"
    R"(\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf})"
    R"(\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d})"
    R"(\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d})"
    R"(\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc})"
    R"(\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc})"
    R"(\x{2102}\x{2107}\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128})"
    R"(\x{212a}-\x{212d}\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183})"
    R"(\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4}\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d})"
    R"(\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787}\x{a78b}-\x{a78e}\x{ab70}-\x{abbf})"
    R"(\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{10400}-\x{1044f})"
    R"(\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2})"
    R"(\x{118a0}-\x{118df}\x{1e900}-\x{1e943})"
    R"(]++)";
constexpr std::string_view kDeepSeekPunctuation =
    R"(\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]++)";
constexpr std::string_view kDeepSeekCjk = R"([\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]++)";
constexpr std::string_view kLineEnd = R"([\r\n])";
constexpr std::string_view kSpacesAtEnd = R"(\s+$)";
constexpr std::string_view kSeedCoder =
    GRETA_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}++|\p{N}| ?[^\s\p{L}\p{N}\r\n]++|)" GRETA_SPACES;
constexpr std::string_view kBloom =
    R"( ?[^(\s|.,!?\x{2026}\x{3002}\x{ff0c}\x{3001}\x{964}\x{6d4}\x{60c})]++)";
// As MiniMax and Moonshot publish them (tokenizer.json, tokenization_kimi.py); a run of Han is a word of
// Kimi's, for whom "&&" of classes is a look-ahead here. sc: the script itself; PCRE2's \p{Han} has what
// Han shares with others.
#define GRETA_CAPITALS R"([\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}])"
#define GRETA_SMALLS R"([\p{Ll}\p{Lm}\p{Lo}\p{M}])"
#define GRETA_MARKED_WORD(NOT)                                                                      \
  R"([^\r\n\p{L}\p{N}]?(?:)" NOT GRETA_CAPITALS ")*(?:" NOT GRETA_SMALLS ")+(?:" GRETA_CONTRACTIONS \
  ")?|"                                                                                             \
  R"([^\r\n\p{L}\p{N}]?(?:)" NOT GRETA_CAPITALS ")+(?:" NOT GRETA_SMALLS ")*(?:" GRETA_CONTRACTIONS ")?|"
constexpr std::string_view kMiniMaxM2 =
    GRETA_MARKED_WORD("") R"(\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n/]*+|)" GRETA_SPACES;
constexpr std::string_view kKimiK2 = R"(\p{sc:Han}++|)" GRETA_MARKED_WORD(
    R"((?!\p{sc:Han}))") R"(\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|)" GRETA_SPACES;

// Further ones, as llama.cpp has them (src/llama-vocab.cpp).
constexpr std::string_view kMiniCpm5 =
    GRETA_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}++|\p{N}++| ?[^\s\p{L}\p{N}]++[\r\n]*+|)" GRETA_SPACES;
constexpr std::string_view kJais2 =
    GRETA_CONTRACTIONS R"(|[^\r\n\p{L}\p{N}]?\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s*[\r\n]+)"
                       R"(|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S))"
                       R"(|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s)";
constexpr std::string_view kBailing = GRETA_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?\p{L}++|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kExaoneMoe = GRETA_CONTRACTIONS
    R"(|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n/]?)"
    R"(|\s*[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kUfakzeka =
    R"([^\r\n\p{L}\p{N}]?\p{L}++|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*+|)" GRETA_SPACES;
constexpr std::string_view kLines = R"([^\n]++|[\n]++)";
constexpr std::string_view kSpark =
    R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]++|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]++)"
    R"(| ?[\p{P}\p{S}]++|[\r\n]|\s+(?!\S)|\s+)";
constexpr std::string_view kYoutuScripts =
    R"([\x{ac00}-\x{d7a3}\x{3131}-\x{318e}]++|[\x{ff01}\x{2026}\x{201c}\x{201d}\x{2018}\x{2019}\x{2014})"
    R"(\x{ff1a}\x{ff1b}\x{ff0c}\x{3001}-\x{303f}\x{fe30}-\x{fe4f}]++|[\x{3105}-\x{312f}]++)"
    R"(|[\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]++)";
constexpr std::string_view kYoutu =
    GRETA_MARKED_WORD("") R"(\p{N}| ?[^\s\p{L}\p{N}]++[\r\n/]*+|)" GRETA_SPACES;

/// Spells out what depends on the version of PCRE2 or differs from the models' own engines: \s is Unicode's
/// White_Space (PCRE2's has U+180E as well),
/// \p{N} and \p{M} have the digits and marks of Unicode 15 (Kawi, Kaktovik, Nag Mundari).
std::string explicit_classes(std::string_view pattern) {
  constexpr std::string_view space =
      R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
  constexpr std::string_view number = R"(\p{N}\x{11f50}-\x{11f59}\x{1d2c0}-\x{1d2d3}\x{1e4f0}-\x{1e4f9})";
  constexpr std::string_view mark =
      R"(\p{M}\x{cf3}\x{ece}\x{10efd}-\x{10eff}\x{11241}\x{11f00}\x{11f01}\x{11f03}\x{11f34}-\x{11f3a})"
      R"(\x{11f3e}-\x{11f42}\x{13440}\x{13447}-\x{13455}\x{1e08f}\x{1e4ec}-\x{1e4ef})";
  std::string out;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size();) {
    const std::string_view rest = pattern.substr(i);
    const auto add = [&](std::string_view members, const char* open) {
      out.append(in_class ? "" : open).append(members).append(in_class ? "" : "]");
    };
    size_t taken = 1;
    if (rest.starts_with(R"(\s)"))
      add(space, "["), taken = 2;
    else if (rest.starts_with(R"(\S)"))
      add(space, "[^"), taken = 2;
    else if (rest.starts_with(R"(\p{N})"))
      add(number, "["), taken = 5;
    else if (rest.starts_with(R"(\p{M})"))
      add(mark, "["), taken = 5;
    else if (rest.starts_with('\\'))
      out.append(rest.substr(0, 2)), taken = 2;
    else
      out += rest[0];
    if (rest[0] == '[') in_class = true;
    if (rest[0] == ']') in_class = false;
    i += taken;
  }
  return out;
}

const std::map<std::string_view, PreTokenizerKind>& kinds() {
  static const auto table = [] {
    std::map<std::string_view, PreTokenizerKind> kinds;
    const auto add = [&](std::initializer_list<std::string_view> names,
                         std::vector<std::string_view> expressions, bool ignore_merges = false,
                         bool adds_bos = false) {
      for (const auto name : names) kinds[name] = {name, expressions, ignore_merges, adds_bos};
    };
    add({"", "default"}, {kPunctuation, kGpt2, kDigits, kThreeAsciiDigits});  // as llama.cpp
    add({"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4", "gigachat", "modern-bert", "jina-es",
         "jina-de", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum", "granite-docling"},
        {kGpt2});
    add({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"},
        {kDigit, kGpt2});
    add({"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
         "jina-v5-nano"},
        {kLlama3}, true, true);
    add({"dbrx", "smaug-bpe", "chatglm-bpe"}, {kLlama3});
    add({"glm4", "glm5"}, {kLlama3}, true);
    add({"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "grok-2", "kormo", "f2llmv2",
         "solar-open"},
        {kQwen2});
    add({"qwen35"}, {kQwen35});
    add({"falcon"}, {kFalconPunctuation, kGpt2, kThreeAsciiDigits});
    add({"deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"}, {kThreeDigits, kCjk, kDeepSeekV3});
    add({"deepseek-llm"},
        {kLineEnd, kDeepSeekLetters, kDeepSeekPunctuation, kSpacesAtEnd, kDeepSeekCjk, kDigits});
    add({"deepseek-coder"}, {kLineEnd, R"(\s?\p{L}++)", R"(\s?\p{P}++)", kDeepSeekCjk, kDigit});
    add({"seed-coder"}, {kSeedCoder});
    add({"bloom", "poro-chat", "gpt3-finnish"}, {kBloom});
    add({"viking"}, {kBloom, kDigit});
    add({"kimi-k2"}, {kKimiK2});
    add({"minimax-m2"}, {kMiniMaxM2});
    add({"minicpm5"}, {kThreeDigits, kMiniCpm5}, true);
    add({"jais-2"}, {kJais2});
    add({"bailingmoe", "bailingmoe2", "llada-moe"}, {kBailing});
    add({"exaone-moe"}, {kExaoneMoe});
    add({"ufakzeka"}, {kUfakzeka});
    add({"laguna"}, {kLines, kQwen2});
    add({"spark2_5"}, {kThreeDigits, kCjk, kSpark, kDigit});
    add({"youtu"}, {kYoutuScripts, kYoutu}, true);
    add({"gpt-4o", "llama4", "kanana2", "talkie"}, {kGpt4o});
    add({"tekken"}, {kTekken}, true, true);
    return kinds;
  }();
  return table;
}

}  // namespace

const PreTokenizerKind* find_pre_tokenizer(std::string_view name) {
  const auto found = kinds().find(name);
  return found == kinds().end() ? nullptr : &found->second;
}

std::string known_pre_tokenizers() {
  std::string names;
  for (const auto& [name, kind] : kinds()) {
    if (name.empty()) continue;
    if (!names.empty()) names += ", ";
    names += name;
  }
  return names;
}

/// One compiled expression.
class PreTokenizer::Expression {
 public:
  explicit Expression(std::string_view published) {
    const std::string pattern = explicit_classes(published);
    int code = 0;
    PCRE2_SIZE at = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP, &code, &at, nullptr));
    if (!code_) fail_machine("pre-tokenizer expression: PCRE2 error {} at character {}", code, at);
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // where it can't, matching interprets
  }

  /// Adds the matches within `text` (UTF-8) and the pieces between them to `words`.
  void split(std::string_view text, std::vector<std::string_view>& words) const {
    const std::unique_ptr<pcre2_match_data, Free> data(pcre2_match_data_create(1, nullptr));
    if (!data) throw std::bad_alloc();
    size_t done = 0, from = 0;
    while (from < text.size() && match(text, from, data.get())) {
      const PCRE2_SIZE* range = pcre2_get_ovector_pointer(data.get());
      if (range[0] > done) words.push_back(text.substr(done, range[0] - done));
      words.push_back(text.substr(range[0], range[1] - range[0]));
      done = from = range[1];  // no expression matches the empty string
    }
    if (done < text.size()) words.push_back(text.substr(done));
  }

 private:
  struct Free {
    void operator()(pcre2_code* p) const { pcre2_code_free(p); }
    void operator()(pcre2_match_data* p) const { pcre2_match_data_free(p); }
  };

  bool match(std::string_view text, size_t from, pcre2_match_data* data) const {
    const auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int result = pcre2_match(code_.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK, data, nullptr);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) {  // a very long word: the interpreter's stack is on the heap
      result = pcre2_match(code_.get(), subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, data,
                           nullptr);
    }
    if (result < 0 && result != PCRE2_ERROR_NOMATCH) {
      fail_machine("pre-tokenizer: PCRE2 error {} at byte {} of a text of {}", result, from, text.size());
    }
    return result >= 0;
  }

  std::unique_ptr<pcre2_code, Free> code_;
};

PreTokenizer::PreTokenizer(const PreTokenizerKind& kind) {
  for (const auto pattern : kind.expressions) expressions_.emplace_back(pattern);
}
PreTokenizer::~PreTokenizer() = default;
PreTokenizer::PreTokenizer(PreTokenizer&&) noexcept = default;

std::vector<std::string_view> PreTokenizer::split(std::string_view text) const {
  std::vector<std::string_view> words, before;
  for (size_t at = 0; at < text.size();) {
    const size_t end = utf8_valid_prefix(text, at);
    std::vector<std::string_view> pieces;
    if (end > at) pieces.push_back(text.substr(at, end - at));
    for (const Expression& expression : expressions_) {
      before.swap(pieces);
      pieces.clear();
      for (const auto piece : before) expression.split(piece, pieces);
    }
    words.insert(words.end(), pieces.begin(), pieces.end());
    if (end < text.size()) words.push_back(text.substr(end, 1));
    at = end + 1;
  }
  return words;
}

}  // namespace greta
