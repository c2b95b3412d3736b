#include "model/tokenizer_json/word_splitter.h"

#include <algorithm>
#include <array>
#include <optional>

#include "base/error.h"
#include "io/json_fields.h"
#include "model/bpe.h"
#include "model/gguf_cursor.h"

namespace greta {
namespace {

using nlohmann::json;
using Split = std::function<std::vector<Word>(const Word&)>;

enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };
constexpr std::array<std::string_view, 5> kBehaviors = {"Removed", "Isolated", "MergedWithPrevious",
                                                        "MergedWithNext", "Contiguous"};

/// What stretches become (tokenizers, src/tokenizer/normalizer.rs, NormalizedString::split).
std::vector<Stretch> joined(const std::vector<Stretch>& parts, Behavior behavior) {
  std::vector<Stretch> out;
  switch (behavior) {
    case Behavior::isolated: return parts;
    case Behavior::removed:
      std::ranges::copy_if(parts, std::back_inserter(out), [](const Stretch& part) { return !part.matches; });
      return out;
    case Behavior::contiguous:
      for (const Stretch& part : parts) {
        if (!out.empty() && out.back().matches == part.matches) {
          out.back().end = part.end;
        } else {
          out.push_back(part);
        }
      }
      return out;
    case Behavior::merged_with_previous: {
      bool before = false;
      for (const Stretch& part : parts) {
        if (part.matches && !before && !out.empty()) {
          out.back().end = part.end;
        } else {
          out.push_back(part);
        }
        before = part.matches;
      }
      return out;
    }
    case Behavior::merged_with_next: {
      bool after = false;
      for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
        if (part->matches && !after && !out.empty()) {
          out.back().begin = part->begin;
        } else {
          out.push_back(*part);
        }
        after = part->matches;
      }
      std::ranges::reverse(out);
      return out;
    }
  }
  return out;
}

std::vector<Word> cut(const Word& word, std::vector<Stretch> parts, Behavior behavior, bool invert) {
  if (invert) {
    for (Stretch& part : parts) part.matches = !part.matches;
  }
  std::vector<Word> words;
  for (const Stretch& part : joined(parts, behavior)) {
    if (part.end > part.begin)
      words.push_back(
          {word.text.substr(part.begin, part.end - part.begin), word.at_start && part.begin == 0});
  }
  return words;
}

Split split_by(Pattern pattern, Behavior behavior, bool invert = false) {
  return [pattern = std::move(pattern), behavior, invert](const Word& word) {
    return cut(word, pattern.stretches(word.text), behavior, invert);
  };
}

Behavior read_behavior(const Fields& fields) {
  const std::string name = fields.text("behavior");
  const auto found = std::ranges::find(kBehaviors, name);
  if (found == kBehaviors.end()) fields.fail("behavior", fmt::format("is \"{}\"", excerpt(name)));
  return static_cast<Behavior>(found - kBehaviors.begin());
}

// Published with GPT-2.
constexpr std::string_view kGpt2Words =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

Split byte_level(const Fields& fields, const std::string& where) {
  std::optional<Pattern> pattern;
  if (fields.boolean_or("use_regex", true)) pattern = Pattern(kGpt2Words, where);
  return [pattern, adds_space = fields.boolean_or("add_prefix_space", true)](Word word) {
    if (adds_space && !word.text.starts_with(' ')) word.text.insert(0, " ");
    std::vector<Word> words{word};
    if (pattern) words = cut(word, pattern->stretches(word.text), Behavior::isolated, false);
    for (Word& one : words) one.text = Bpe::letters_of(one.text);
    return words;
  };
}

Split metaspace(const Fields& fields) {
  const std::string mark = fields.text_or("replacement", "\u2581");
  if (mark.size() > 64) fields.fail("replacement", "is too long");
  // Before there were schemes, add_prefix_space said it.
  std::string scheme =
      fields.text_or("prepend_scheme", fields.boolean_or("add_prefix_space", true) ? "always" : "never");
  if (scheme != "always" && scheme != "never" && scheme != "first")
    fields.fail("prepend_scheme", fmt::format("is \"{}\"", excerpt(scheme)));
  const bool cuts = fields.boolean_or("split", true);
  return [mark, scheme, cuts, pattern = Pattern::literal(mark)](const Word& word) {
    Word made{{}, word.at_start};
    for (const char c : word.text) c == ' ' ? made.text += mark : made.text += c;
    const bool prepends = scheme == "always" || (scheme == "first" && word.at_start);
    if (prepends && !made.text.starts_with(mark)) made.text.insert(0, mark);
    if (!cuts) return std::vector<Word>{made};
    return cut(made, pattern.stretches(made.text), Behavior::merged_with_next, false);
  };
}

void add_splitters(const json& of, const std::string& where, std::vector<Split>& steps) {
  if (of.is_null()) return;
  const Fields fields(of, where);
  const std::string type = fields.text("type");
  const std::string at = where + ": " + excerpt(type);
  if (type == "Sequence") {
    const auto parts = of.find("pretokenizers");
    if (parts == of.end() || !parts->is_array()) fields.fail("pretokenizers", "must be a list");
    for (const json& part : *parts) add_splitters(part, where, steps);
  } else if (type == "Split") {
    steps.push_back(
        split_by(read_pattern(of, at), read_behavior(fields), fields.boolean_or("invert", false)));
  } else if (type == "ByteLevel") {
    steps.push_back(byte_level(fields, at));
  } else if (type == "Metaspace") {
    steps.push_back(metaspace(fields));
  } else if (type == "Digits") {
    steps.push_back(split_by(Pattern(R"(\p{N})", at), fields.boolean_or("individual_digits", false)
                                                          ? Behavior::isolated
                                                          : Behavior::contiguous));
  } else if (type == "Punctuation") {
    steps.push_back(split_by(Pattern(R"([\p{P}!-/:-@\[-`{-~])", at),
                             fields.has("behavior") ? read_behavior(fields) : Behavior::isolated));
  } else if (type == "Whitespace") {
    steps.push_back(split_by(Pattern(R"(\w+|[^\w\s]+)", at), Behavior::removed, true));
  } else if (type == "WhitespaceSplit") {
    steps.push_back(split_by(Pattern(R"(\s)", at), Behavior::removed));
  } else {
    fail_input("{}: GRETA does not know the pre-tokenizer {}", where, excerpt(type));
  }
}

}  // namespace

Pattern read_pattern(const json& of, const std::string& where) {
  const auto pattern = of.find("pattern");
  if (pattern == of.end() || !pattern->is_object()) fail_input("{}: field \"pattern\" is missing", where);
  const Fields fields(*pattern, where + ": pattern");
  if (fields.has("String")) return Pattern::literal(fields.text("String"));
  return Pattern(fields.text("Regex"), where);
}

WordSplitter::WordSplitter(const json& of, const std::string& where) { add_splitters(of, where, steps_); }

std::vector<Word> WordSplitter::operator()(Word text) const {
  std::vector<Word> words{std::move(text)};
  for (const auto& step : steps_) {
    std::vector<Word> next;
    for (const Word& word : words) {
      for (Word& made : step(word)) next.push_back(std::move(made));
    }
    words = std::move(next);
  }
  return words;
}

}  // namespace greta
