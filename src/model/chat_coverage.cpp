#include "model/chat_coverage.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <vector>

#include "base/error.h"
#include "model/gguf_cursor.h"
#include "model/jinja_text.h"

namespace greta {
namespace {

using Tokens = std::span<const JinjaToken>;
using Names = std::set<std::string, std::less<>>;

enum class Truth { no, yes, unknown };

Truth negated(Truth t) { return t == Truth::unknown ? t : t == Truth::yes ? Truth::no : Truth::yes; }
Truth truth(bool value) { return value ? Truth::yes : Truth::no; }

/// What is known of a template's names: loops give `items`, statements that are reached set `assigned`.
struct Scope {
  std::span<const std::string> roles;  // of the messages, in order
  Names items, assigned;
  Names nones;  // set to none on the way, for certain
};

const Names kGiven{"messages",  "add_generation_prompt",
                   "bos_token", "eos_token",
                   "loop",      "true",
                   "false",     "True",
                   "False",     "none",
                   "None",      "namespace",
                   "range",     "raise_exception",
                   "dict",      "lipsum",
                   "cycler",    "joiner"};

bool is_false_word(Tokens t) {
  return t.size() == 1 && (t[0].is("none") || t[0].is("None") || t[0].is("false") || t[0].is("False"));
}

/// A name that the conversation doesn't give and the template doesn't set: tools, documents, ...
bool is_absent(const JinjaToken& token, const Scope& scope) {
  return token.kind == JinjaToken::Kind::name && !kGiven.contains(token.text) &&
         !scope.items.contains(token.text) && !scope.assigned.contains(token.text);
}

/// The K of item.K or item['K'] at the front of `t`, which is then shortened by it.
std::optional<std::string> take_field(Tokens& t, const Scope& scope) {
  if (t.empty() || !scope.items.contains(t[0].text) || scope.assigned.contains(t[0].text)) return {};
  if (t.size() >= 3 && t[1].is(".") && t[2].kind == JinjaToken::Kind::name &&
      !(t.size() > 3 && t[3].is("("))) {
    std::string field = t[2].text;
    t = t.subspan(3);
    return field;
  }
  if (t.size() >= 4 && t[1].is("[") && t[2].kind == JinjaToken::Kind::string && t[3].is("]")) {
    std::string field = t[2].text;
    t = t.subspan(4);
    return field;
  }
  return {};
}

/// `... is [not] TEST` of something absent; only itself: its truth.
Truth truth_of_absent(Tokens rest, bool is_none = false) {
  if (rest.empty()) return Truth::no;
  if (!rest[0].is("is") || rest.size() < 2) return Truth::unknown;
  const bool is_not = rest[1].is("not");
  const Tokens test = rest.subspan(is_not ? 2 : 1);
  if (test.size() != 1) return Truth::unknown;
  if (test[0].is("undefined")) return truth(is_none == is_not);
  if (is_none && (test[0].is("none") || test[0].is("defined"))) return truth(!is_not);
  const Names negative{"defined", "string", "mapping", "sequence", "none", "true"};
  return negative.contains(test[0].text) ? truth(is_not) : Truth::unknown;
}

bool is_comparison(Tokens t) {
  return t.size() == 2 && t[1].kind == JinjaToken::Kind::string && (t[0].is("==") || t[0].is("!="));
}

Truth truth_of_field(const std::string& field, Tokens rest, const Scope& scope) {
  if (field != "role" && field != "content") return truth_of_absent(rest);
  if (field == "role" && is_comparison(rest)) {
    const bool possible = std::ranges::find(scope.roles, rest[1].text) != scope.roles.end();
    return possible ? Truth::unknown : truth(rest[0].is("!="));
  }
  if (field == "content" && rest.size() == 2 && rest[0].is("is") && rest[1].is("string")) return Truth::yes;
  if (field == "content" && rest.size() == 3 && rest[1].is("not") && rest[2].is("string")) return Truth::no;
  return Truth::unknown;
}

/// `messages[0].role == 'system'`, however it is written.
Truth truth_of_first(Tokens t, const Scope& scope) {
  if (t.size() < 8 || !t[0].is("messages") || !t[1].is("[") || !t[2].is("0") || !t[3].is("]"))
    return Truth::unknown;
  if (scope.assigned.contains("messages") || scope.roles.empty()) return Truth::unknown;
  const bool dotted = t[4].is(".") && t[5].is("role");
  const bool indexed = t[4].is("[") && t[5].text == "role" && t[6].is("]");
  const Tokens rest = t.subspan(dotted ? 6 : 7);
  if ((!dotted && !indexed) || !is_comparison(rest)) return Truth::unknown;
  return truth((scope.roles.front() == rest[1].text) == rest[0].is("=="));
}

/// `'tool_calls' in item`.
Truth truth_of_having(Tokens t, const Scope& scope) {
  const bool is_not = t.size() == 4 && t[1].is("not");
  if (t[0].kind != JinjaToken::Kind::string || (t.size() != 3 && !is_not) || !t[t.size() - 2].is("in"))
    return Truth::unknown;
  if (!scope.items.contains(t.back().text)) return Truth::unknown;
  return truth((t[0].text == "role" || t[0].text == "content") != is_not);
}

/// The parts of `t` between the words `word` outside of brackets.
std::vector<Tokens> parts(Tokens t, std::string_view word) {
  std::vector<Tokens> result;
  int depth = 0;
  size_t begin = 0;
  for (size_t i = 0; i < t.size(); ++i) {
    depth += t[i].is("(") || t[i].is("[") || t[i].is("{");
    depth -= t[i].is(")") || t[i].is("]") || t[i].is("}");
    if (depth != 0 || !t[i].is(word)) continue;
    result.push_back(t.subspan(begin, i - begin));
    begin = i + 1;
  }
  result.push_back(t.subspan(begin));
  return result;
}

bool is_in_brackets(Tokens t) {
  if (t.size() < 2 || !t.front().is("(") || !t.back().is(")")) return false;
  int depth = 0;
  for (size_t i = 0; i + 1 < t.size(); ++i) {
    depth += t[i].is("(");
    depth -= t[i].is(")");
    if (depth == 0) return false;
  }
  return true;
}

Truth truth_of(Tokens t, const Scope& scope, int depth = 0) {
  if (t.empty() || depth > 32) return Truth::unknown;
  // `or`: one that is true decides; `and`: one that is false.
  for (const auto& [word, decides] : {std::pair{"or", Truth::yes}, std::pair{"and", Truth::no}}) {
    const auto terms = parts(t, word);
    if (terms.size() == 1) continue;
    Truth all = negated(decides);
    for (const Tokens term : terms) {
      const Truth one = truth_of(term, scope, depth + 1);
      if (one == decides) return decides;
      if (one == Truth::unknown) all = one;
    }
    return all;
  }
  if (t[0].is("not")) return negated(truth_of(t.subspan(1), scope, depth + 1));
  if (is_in_brackets(t)) return truth_of(t.subspan(1, t.size() - 2), scope, depth + 1);
  if (is_false_word(t)) return Truth::no;
  if (t.size() == 1 && t[0].is("add_generation_prompt")) return Truth::yes;
  if (is_absent(t[0], scope)) return truth_of_absent(t.subspan(1), scope.nones.contains(t[0].text));
  if (const auto field = take_field(t, scope)) return truth_of_field(*field, t, scope);
  if (const Truth having = truth_of_having(t, scope); having != Truth::unknown) return having;
  return truth_of_first(t, scope);
}

/// Walks a template's pieces and keeps what a conversation may reach.
class Reach {
 public:
  Reach(std::span<const JinjaPiece> pieces, std::span<const std::string> roles, std::string eos)
      : eos_(std::move(eos)), scope_{roles, {}, {}, {}} {
    // What is set is known only after the walk, and a loop reads what its end sets: until nothing is added.
    constexpr int kMostPasses = 16;
    size_t before;
    int passes = 0;
    do {
      before = scope_.assigned.size() + scope_.items.size();
      phrases.clear();
      odd.clear();
      scope_.nones.clear();
      blocks_.assign(1, Block{});
      for (const JinjaPiece& piece : pieces) visit(piece);
      end_of_phrase();
    } while (scope_.assigned.size() + scope_.items.size() > before && ++passes < kMostPasses);
    if (passes == kMostPasses) note("names that hang on one another");
  }

  std::vector<std::vector<std::string>> phrases;  // that may be printed, each in its readings
  std::string odd;                                // the first thing that only running it would tell
  bool trims = false;

 private:
  struct Block {
    std::string_view word;
    bool live = true, outer = true;  // this branch; what is around
    bool decided = false;            // an earlier branch is taken for certain
    bool certain = true;             // this one is
    bool open = false;               // an earlier branch may be taken
  };

  void visit(const JinjaPiece& piece) {
    if (piece.kind == JinjaPiece::Kind::statement) {
      end_of_phrase();
      statement(piece.tokens);
      return end_of_phrase();
    }
    if (!blocks_.back().live) return;
    if (piece.kind == JinjaPiece::Kind::text)
      say(piece.text);
    else
      expression(piece.tokens);
  }

  bool is_certain() const { return std::ranges::all_of(blocks_, &Block::certain); }

  void note(std::string what) {
    if (odd.empty()) odd = std::move(what);
  }

  void open(std::string_view word, bool live, bool decided = false) {
    const bool outer = blocks_.back().live;
    blocks_.push_back({word, outer && live, outer, decided, word == "if", false});
  }

  void branch(Truth condition) {
    Block& block = blocks_.back();
    block.live = block.outer && !block.decided && condition != Truth::no;
    block.certain = condition == Truth::yes && !block.open;
    block.open = block.open || condition == Truth::unknown;
    block.decided = block.decided || condition == Truth::yes;
  }

  void statement(Tokens t) {
    if (t.empty()) return;
    const std::string_view word = t[0].text;
    const Tokens rest = t.subspan(1);
    const bool live = blocks_.back().live;
    if (word == "if") {
      open("if", true);
      branch(truth_of(rest, scope_));
    } else if (word == "elif") {
      branch(truth_of(rest, scope_));
    } else if (word == "else") {
      if (blocks_.back().word == "if") branch(Truth::yes);
    } else if (word.starts_with("end")) {
      if (blocks_.size() > 1) blocks_.pop_back();
    } else if (word == "for") {
      open_loop(rest);
    } else if (word == "macro") {
      open("macro", false);  // a call of it is odd
    } else if (word == "set") {
      if (live) assign(rest);
      if (std::ranges::none_of(rest, [](const JinjaToken& token) { return token.is("="); })) {
        if (live) note("{% set %} of a block");
        open("set", true);
      }
    } else if (word == "generation") {
      open("generation", true);
    } else if (live && word != "break" && word != "continue") {
      note(fmt::format("{{% {} %}}", excerpt(word)));
    }
  }

  static void add_names(Tokens t, Names& names) {
    for (const JinjaToken& token : t) {
      if (token.kind == JinjaToken::Kind::name) names.insert(token.text);
    }
  }

  void open_loop(Tokens rest) {
    const auto sides = parts(rest, "in");
    const bool over_nothing = sides.size() == 2 && truth_of(sides[1], scope_) == Truth::no;
    if (blocks_.back().live && !over_nothing) add_names(sides[0], scope_.items);
    open("for", !over_nothing);
  }

  void assign(Tokens rest) {
    const auto sides = parts(rest, "=");
    if (sides.size() != 2 || rest.empty()) return;
    const Tokens value = sides[1];
    const bool nothing = is_false_word(value) || (value.size() == 1 && is_absent(value[0], scope_));
    const auto is_loop = [](const Block& block) { return block.word == "for"; };
    if (!nothing || std::ranges::any_of(blocks_, is_loop)) add_names(sides[0], scope_.assigned);
    if (is_false_word(value) && value[0].text.starts_with("n") && is_certain())
      scope_.nones.insert(rest[0].text);
    expression(value);
  }

  /// The strings of an expression that are values, neither subscripts nor compared with.
  void expression(Tokens t) {
    if (!t.empty() && t[0].is("raise_exception")) {
      if (is_certain()) note(fmt::format("raise_exception('{}')", excerpt(t.size() > 2 ? t[2].text : "")));
      return;
    }
    for (size_t i = 0; i < t.size(); ++i) {
      const bool compared =
          (i > 0 && (t[i - 1].is("==") || t[i - 1].is("!="))) ||
          (i + 1 < t.size() && (t[i + 1].is("==") || t[i + 1].is("!=") || t[i + 1].is("in")));
      const bool subscript = i > 0 && i + 1 < t.size() && t[i - 1].is("[") && t[i + 1].is("]");
      if (t[i].kind == JinjaToken::Kind::string) {
        if (compared || (subscript && t[i].text != "role"))
          end_of_phrase();
        else if (subscript)
          say_role();
        else
          say(t[i].text);
      } else if (t[i].is("role")) {
        say_role();
      } else if (t[i].is("eos_token")) {
        say(eos_);
      } else if (t[i].kind == JinjaToken::Kind::name) {
        if (!scope_.items.contains(t[i].text)) end_of_phrase();
        check_name(t, i);
      } else if (t[i].kind == JinjaToken::Kind::number || !joins(t[i])) {
        end_of_phrase();
      }
    }
  }

  static bool joins(const JinjaToken& symbol) {
    constexpr std::string_view kJoining = "+~().[]";  // and what a field's name stands between
    return kJoining.find(symbol.text) != kJoining.npos;
  }

  void check_name(Tokens t, size_t i) {
    static const Names plain{"if",       "else",     "and",     "or",     "not",  "is",     "in",
                             "defined",  "string",   "content", "first",  "last", "index0", "index",
                             "previtem", "nextitem", "length",  "system", "none"};
    if (plain.contains(t[i].text)) return;
    const bool follows = i > 0 && (t[i - 1].is("|") || t[i - 1].is("."));
    const bool called = i + 1 < t.size() && t[i + 1].is("(");
    const bool of_assigned = i > 1 && t[i - 1].is(".") && scope_.assigned.contains(t[i - 2].text);
    if (t[i].is("trim") || t[i].is("strip"))
      trims = true;
    else if (!t[i].is("namespace") && (called || (follows && !of_assigned)))
      note(fmt::format("'{}'", excerpt(t[i].text)));
  }

  // A phrase: what is written in one piece, as it reads for each role.
  void say(std::string_view text) {
    if (phrase_.empty()) phrase_.resize(1);
    for (std::string& reading : phrase_) reading += text;
  }

  void say_role() {
    constexpr std::string_view kRoles[] = {"system", "user", "assistant", "model"};
    if (phrase_.size() > 1) end_of_phrase();
    const std::string before = phrase_.empty() ? "" : phrase_[0];
    phrase_.clear();
    for (const std::string_view role : kRoles) phrase_.push_back(std::string(before).append(role));
  }

  void end_of_phrase() {
    if (!phrase_.empty() && !phrase_[0].empty()) phrases.push_back(phrase_);
    phrase_.clear();
  }

  std::vector<std::string> phrase_;
  std::string eos_;
  Scope scope_;
  std::vector<Block> blocks_;
};

// The largest of llama.cpp's collection has 17 KiB. The cap bounds the work that a template can ask for.
constexpr size_t kLargestTemplate = size_t{128} << 10;

/// True when `text` is made of `tiles` put together. Quadratic at most in a text of marks, which is short.
bool is_tiled(std::string_view text, const Names& tiles) {
  std::vector<bool> reached(text.size() + 1);
  reached[0] = true;
  for (size_t at = 0; at < text.size(); ++at) {
    if (!reached[at]) continue;
    for (const std::string& tile : tiles) {
      if (!tile.empty() && text.substr(at).starts_with(tile)) reached[at + tile.size()] = true;
    }
  }
  return reached.back();
}

/// What stands in `rendering` around the contents.
std::vector<std::string_view> frame_of(std::string_view rendering, std::span<const std::string> contents) {
  std::vector<std::string_view> pieces;
  for (const std::string& content : contents) {
    const size_t at = rendering.find(content);
    if (content.empty() || at == rendering.npos) continue;
    pieces.push_back(rendering.substr(0, at));
    rendering.remove_prefix(at + content.size());
  }
  pieces.push_back(rendering);
  return pieces;
}

}  // namespace

std::optional<std::string> chat_difference(std::string_view template_text, std::span<const std::string> roles,
                                           std::string_view rendering, std::span<const std::string> contents,
                                           std::span<const std::string> marks, bool trims) {
  if (template_text.size() > kLargestTemplate)
    return fmt::format("it has {} bytes, more than {}", template_text.size(), kLargestTemplate);
  const auto pieces = jinja_pieces(template_text);
  const Reach reach(pieces, roles, marks.back());
  if (!reach.odd.empty()) return fmt::format("it has {}, and GRETA does not run templates", reach.odd);
  if (reach.trims && !trims) return "it trims what is said";
  Names tiles(marks.begin(), marks.end());
  for (const auto& readings : reach.phrases) {
    const auto is_said = [&](const std::string& text) {
      return rendering.find(text) != rendering.npos || std::ranges::find(marks, text) != marks.end();
    };
    if (std::ranges::none_of(readings, is_said))
      return fmt::format("it may write '{}'", excerpt(readings[readings.size() > 1 ? 1 : 0]));
    tiles.insert(readings.begin(), readings.end());
  }
  for (const auto piece : frame_of(rendering, contents)) {
    if (!is_tiled(piece, tiles)) return fmt::format("it does not write '{}'", excerpt(piece));
  }
  return std::nullopt;
}

}  // namespace greta
