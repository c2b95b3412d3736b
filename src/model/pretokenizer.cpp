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
// and \s, \S and \p{N} as explicit_classes() defines them.
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

/// Spells out what depends on the version of PCRE2 or differs from the models' own engines: \s is Unicode's
/// White_Space (PCRE2's has U+180E as well),
/// \p{N} has the digits of Unicode 15 (Kawi, Kaktovik, Nag Mundari).
std::string explicit_classes(std::string_view pattern) {
  constexpr std::string_view space =
      R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
  constexpr std::string_view number = R"(\p{N}\x{11f50}-\x{11f59}\x{1d2c0}-\x{1d2d3}\x{1e4f0}-\x{1e4f9})";
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
    add({"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4", "gigachat", "modern-bert"}, {kGpt2});
    add({"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}, {kDigit, kGpt2});
    add({"llama3", "llama-v3", "llama-bpe", "falcon3", "pixtral", "lfm2"}, {kLlama3}, true, true);
    add({"dbrx", "smaug-bpe", "chatglm-bpe"}, {kLlama3});
    add({"glm4"}, {kLlama3}, true);
    add({"qwen2", "deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "grok-2"}, {kQwen2});
    add({"qwen35"}, {kQwen35});
    add({"falcon"}, {kFalconPunctuation, kGpt2, kThreeAsciiDigits});
    add({"deepseek-v3"}, {kThreeDigits, kCjk, kDeepSeekV3});
    add({"gpt-4o", "llama4"}, {kGpt4o});
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
