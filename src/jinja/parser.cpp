#include "jinja/parser.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <initializer_list>

namespace greta::jinja {
namespace {

using Kind = Token::Kind;
using Expr = Expression::Kind;
using Stmt = Statement::Kind;
using Ends = std::initializer_list<std::string_view>;

constexpr int kDeepestSource = 128;  // of brackets, statements and chains of operators

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Body run() {
    Body body = statements({});
    if (now().kind != Kind::end) fail("the tag '{}' opens nothing", now().text);
    return body;
  }

 private:
  /// Counts how deep the parser is in itself.
  class Deeper {
   public:
    explicit Deeper(Parser& parser) : parser_(parser) {
      if (++parser.depth_ > kDeepestSource) parser.fail("it is nested deeper than {}", kDeepestSource);
    }
    ~Deeper() { --parser_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;

   private:
    Parser& parser_;
  };

  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) const {
    throw SyntaxError{now().line, fmt::format(format, std::forward<Args>(args)...)};
  }

  const Token& now() const { return tokens_[at_]; }
  const Token& next() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() { return tokens_[now().kind == Kind::end ? at_ : at_++]; }
  bool skip_symbol(std::string_view symbol) { return now().is_symbol(symbol) && ++at_; }
  bool skip_name(std::string_view name) { return now().is_name(name) && ++at_; }
  void expect(std::string_view symbol) {
    if (!skip_symbol(symbol)) fail("expected '{}', not '{}'", symbol, shown());
  }
  void expect(Kind kind) {
    if (now().kind != kind) fail("a tag should end before '{}'", shown());
    ++at_;
  }
  std::string take_name() {
    if (now().kind != Kind::name) fail("expected a name, not '{}'", shown());
    return take().text;
  }
  std::string shown() const {
    constexpr std::array<std::string_view, 4> kTags{"text", "{{", "}}", "{%"};
    const auto kind = static_cast<size_t>(now().kind);
    if (now().kind == Kind::block_end) return "%}";
    if (now().kind == Kind::end) return "the end";
    return kind < kTags.size() ? std::string(kTags[kind]) : now().text;
  }

  static ExpressionPtr make(Expr kind, int line, std::string name = {}) {
    return std::make_unique<Expression>(Expression{kind, line, std::move(name)});
  }
  template <class... Parts>
  ExpressionPtr make(Expr kind, std::string name, Parts... parts) const {
    auto made = make(kind, now().line, std::move(name));
    (made->parts.push_back(std::move(parts)), ...);
    return made;
  }
  ExpressionPtr constant(Value value) const {
    auto made = make(Expr::constant, now().line);
    made->value = std::move(value);
    return made;
  }

  // Statements.

  Body statements(Ends ends) {
    const Deeper deeper(*this);
    Body body;
    for (;;) {
      const Token& token = now();
      if (token.kind == Kind::end) {
        if (ends.size() > 0) fail("it ends without {}", *std::prev(ends.end()));
        return body;
      }
      if (token.kind == Kind::data) {
        body.push_back({Stmt::data, token.line, take().text});
      } else if (token.kind == Kind::print_begin) {
        body.push_back({Stmt::print, take().line});
        body.back().expression = tuple();
        expect(Kind::print_end);
      } else {
        const bool ends_here =
            std::ranges::find(ends, next().text) != ends.end() && next().kind == Kind::name;
        ++at_;  // the tag's begin
        if (ends_here) return body;
        body.push_back(statement());
      }
    }
  }

  /// A body and the tag that ends it, whose name is what it returns.
  std::string body_until(Ends ends, Body& body) {
    expect(Kind::block_end);
    body = statements(ends);
    return take().text;
  }

  /// A body that no break leaves.
  void enclose(Statement& made, std::string_view end) {
    const int loops = std::exchange(loops_, 0);
    body_until({end}, made.branches.emplace_back().body);
    loops_ = loops;
  }

  Statement statement() {
    struct Row {
      std::string_view name;
      void (Parser::*read)(Statement&);
    };
    constexpr std::array<Row, 9> kRows{{{"if", &Parser::read_if},
                                        {"for", &Parser::read_for},
                                        {"set", &Parser::read_set},
                                        {"macro", &Parser::read_macro},
                                        {"filter", &Parser::read_filter},
                                        {"with", &Parser::read_with},
                                        {"generation", &Parser::read_generation},
                                        {"break", &Parser::read_break},
                                        {"continue", &Parser::read_continue}}};
    const auto row = std::ranges::find(kRows, now().text, &Row::name);
    if (now().kind != Kind::name || row == kRows.end()) fail("the tag '{}' is not supported here", shown());
    Statement made{Stmt::block, take().line};
    (this->*row->read)(made);
    expect(Kind::block_end);
    return made;
  }

  void read_if(Statement& made) {
    made.kind = Stmt::choice;
    for (std::string tag = "if"; tag != "endif";) {
      Branch& branch = made.branches.emplace_back();
      if (tag != "else") branch.condition = tuple(false);
      tag = tag == "else" ? body_until({"endif"}, branch.body)
                          : body_until({"elif", "else", "endif"}, branch.body);
    }
  }

  void read_for(Statement& made) {
    made.kind = Stmt::loop;
    made.unpacks = read_targets(made.names);
    if (!skip_name("in")) fail("expected 'in', not '{}'", shown());
    made.expression = tuple(false, "recursive");
    if (skip_name("if")) made.condition = expression();
    if (now().is_name("recursive")) fail("a recursive loop is not supported");
    ++loops_;
    const std::string tag = body_until({"else", "endfor"}, made.branches.emplace_back().body);
    --loops_;
    if (tag == "else") body_until({"endfor"}, made.branches.emplace_back().body);
  }

  /// True for a tuple of names.
  bool read_targets(std::vector<std::string>& names) {
    const bool bracket = skip_symbol("(");
    bool unpacks = false;
    do names.push_back(take_name());
    while (skip_symbol(",") && (unpacks = true) && now().kind == Kind::name && !now().is_name("in"));
    if (bracket) expect(")");
    return unpacks;
  }

  void read_set(Statement& made) {
    made.kind = Stmt::assign;
    made.unpacks = read_targets(made.names);
    if (!made.unpacks && skip_symbol(".")) {
      made.text = std::move(made.names[0]);
      made.names[0] = take_name();
    }
    if (skip_symbol("=")) {
      made.expression = tuple();
      return;
    }
    if (made.unpacks) fail("expected '=', not '{}'", shown());
    made.kind = Stmt::capture;
    if (now().is_symbol("|")) made.expression = filters(nullptr);
    enclose(made, "endset");
  }

  void read_macro(Statement& made) {
    made.kind = Stmt::macro;
    made.text = take_name();
    expect("(");
    while (!skip_symbol(")")) {
      if (!made.names.empty()) expect(",");
      made.names.push_back(take_name());
      made.values.push_back(skip_symbol("=") ? expression() : nullptr);
      if (made.values.back() == nullptr && made.values.size() > 1 && made.values.end()[-2] != nullptr)
        fail("a parameter without a default after one with");
    }
    enclose(made, "endmacro");
  }

  void read_filter(Statement& made) {
    made.kind = Stmt::filtered;
    made.expression = filter(nullptr);
    made.expression = filters(std::move(made.expression));
    enclose(made, "endfilter");
  }

  void read_with(Statement& made) {
    while (now().kind != Kind::block_end) {
      if (!made.names.empty()) expect(",");
      made.names.push_back(take_name());
      expect("=");
      made.values.push_back(expression());
    }
    body_until({"endwith"}, made.branches.emplace_back().body);
  }

  void read_generation(Statement& made) { enclose(made, "endgeneration"); }

  void read_break(Statement& made) { read_jump(made, Stmt::leave_loop); }
  void read_continue(Statement& made) { read_jump(made, Stmt::next_turn); }
  void read_jump(Statement& made, Stmt kind) {
    made.kind = kind;
    if (loops_ == 0) fail("break or continue outside of a loop");
  }

  // Expressions, from the operators that bind least.

  /// One expression, or several with commas. `ends_before`: a name that ends a tuple.
  ExpressionPtr tuple(bool conditional = true, std::string_view ends_before = {}, bool in_brackets = false) {
    const int line = now().line;
    std::vector<ExpressionPtr> parts;
    bool comma = false;
    while (!ends_tuple(ends_before)) {
      parts.push_back(conditional ? expression() : either());
      if (!now().is_symbol(",")) break;
      comma = true;
      ++at_;
    }
    if (!comma && parts.size() == 1) return std::move(parts[0]);
    if (parts.empty() && !in_brackets) fail("expected an expression, not '{}'", shown());
    auto made = make(Expr::tuple, line);
    made->parts = std::move(parts);
    return made;
  }
  bool ends_tuple(std::string_view ends_before) const {
    return now().kind == Kind::print_end || now().kind == Kind::block_end || now().is_symbol(")") ||
           (!ends_before.empty() && now().is_name(ends_before));
  }

  ExpressionPtr expression() {
    const Deeper deeper(*this);
    auto value = either();
    int links = 0;
    while (skip_name("if")) {
      check_chain(++links);
      auto condition = either();
      auto other = skip_name("else") ? expression() : nullptr;
      value = make(Expr::conditional, "", std::move(condition), std::move(value), std::move(other));
    }
    return value;
  }

  /// Left to right: a chain of operators is a tree as deep as it is long.
  void check_chain(int links) const {
    if (depth_ + links > kDeepestSource) fail("more than {} operators in a row", kDeepestSource);
  }

  template <class Operand>
  ExpressionPtr chain(Expr kind, Ends operators, bool named, Operand operand) {
    auto left = (this->*operand)();
    for (int links = 1;; ++links) {
      const bool is_operator = now().kind == (named ? Kind::name : Kind::symbol) &&
                               std::ranges::find(operators, now().text) != operators.end();
      if (!is_operator) return left;
      check_chain(links);
      const std::string name = take().text;
      auto right = (this->*operand)();
      left = make(kind, name, std::move(left), std::move(right));
    }
  }

  ExpressionPtr either() { return chain(Expr::either, {"or"}, true, &Parser::both); }
  ExpressionPtr both() { return chain(Expr::both, {"and"}, true, &Parser::negation); }

  ExpressionPtr negation() {
    const Deeper deeper(*this);
    if (!skip_name("not")) return compare();
    return make(Expr::negation, "not", negation());
  }

  ExpressionPtr compare() {
    constexpr std::array<std::string_view, 6> kOperators{"==", "!=", "<", "<=", ">", ">="};
    auto first = sum();
    ExpressionPtr made;
    for (;;) {
      std::string_view name;
      for (const auto one : kOperators) {
        if (name.empty() && skip_symbol(one)) name = one;
      }
      if (name.empty() && skip_name("in")) name = "in";
      if (name.empty() && now().is_name("not") && next().is_name("in")) name = "not in", at_ += 2;
      if (name.empty()) return made ? std::move(made) : std::move(first);
      if (!made) made = make(Expr::compare, "", std::move(first));
      made->names.emplace_back(name);
      made->parts.push_back(sum());
    }
  }

  ExpressionPtr sum() { return chain(Expr::arithmetic, {"+", "-"}, false, &Parser::concat); }

  ExpressionPtr concat() {
    auto first = product();
    if (!now().is_symbol("~")) return first;
    auto made = make(Expr::concat, "", std::move(first));
    while (skip_symbol("~")) made->parts.push_back(product());
    return made;
  }

  ExpressionPtr product() { return chain(Expr::arithmetic, {"*", "/", "//", "%"}, false, &Parser::power); }
  ExpressionPtr power() { return chain(Expr::arithmetic, {"**"}, false, &Parser::filtered_unary); }

  ExpressionPtr filtered_unary() { return filters(unary()); }

  /// A sign binds closer than a filter.
  ExpressionPtr unary() {
    const Deeper deeper(*this);
    if (now().is_symbol("-") || now().is_symbol("+")) {
      const std::string sign = take().text;
      return postfix(make(Expr::negation, sign, unary()));
    }
    return postfix(primary());
  }

  ExpressionPtr primary() {
    const Token token = now();
    if (token.kind == Kind::text) return text_constant();
    if (skip_symbol("(")) {
      auto inner = tuple(true, {}, true);
      expect(")");
      return inner;
    }
    if (skip_symbol("[")) return list();
    if (skip_symbol("{")) return dict();
    if (token.kind == Kind::integer || token.kind == Kind::real) return number(take());
    if (token.kind != Kind::name) fail("expected an expression, not '{}'", shown());
    ++at_;
    if (token.text == "true" || token.text == "True") return constant(true);
    if (token.text == "false" || token.text == "False") return constant(false);
    if (token.text == "none" || token.text == "None") return constant(None{});
    return make(Expr::name, token.text);
  }

  ExpressionPtr number(const Token& token) const {
    const char *begin = token.text.data(), *end = begin + token.text.size();
    double real = 0;
    int64_t integer = 0;
    const bool is_real = token.kind == Kind::real;
    const auto read = is_real ? std::from_chars(begin, end, real) : std::from_chars(begin, end, integer);
    if (read.ec != std::errc() || read.ptr != end) fail("the number {} is too large", token.text);
    return is_real ? constant(real) : constant(integer);
  }

  /// Neighbours are one.
  ExpressionPtr text_constant() {
    std::string text;
    while (now().kind == Kind::text) text += take().text;
    return constant(Text{std::make_shared<const std::string>(std::move(text))});
  }

  ExpressionPtr list() {
    auto made = make(Expr::list, now().line);
    while (!skip_symbol("]")) {
      if (!made->parts.empty()) expect(",");
      if (skip_symbol("]")) break;
      made->parts.push_back(expression());
    }
    return made;
  }

  ExpressionPtr dict() {
    auto made = make(Expr::dict, now().line);
    while (!skip_symbol("}")) {
      if (!made->parts.empty()) expect(",");
      if (skip_symbol("}")) break;
      made->parts.push_back(expression());
      expect(":");
      made->parts.push_back(expression());
    }
    return made;
  }

  ExpressionPtr postfix(ExpressionPtr value) {
    for (int links = 1;; ++links) {
      check_chain(links);
      if (skip_symbol("."))
        value = attribute(std::move(value));
      else if (skip_symbol("["))
        value = item(std::move(value));
      else if (now().is_symbol("("))
        value = call(std::move(value));
      else
        return value;
    }
  }

  ExpressionPtr attribute(ExpressionPtr value) {
    if (now().kind == Kind::integer) {
      const Token index = take();
      return make(Expr::item, "", std::move(value), number(index));
    }
    return make(Expr::attribute, take_name(), std::move(value));
  }

  ExpressionPtr item(ExpressionPtr value) {
    const auto bound = [&]() -> ExpressionPtr {
      return now().is_symbol(":") || now().is_symbol("]") ? nullptr : expression();
    };
    auto start = bound();
    if (!now().is_symbol(":")) {
      if (!start || now().is_symbol(",")) fail("expected one index, not '{}'", shown());
      expect("]");
      return make(Expr::item, "", std::move(value), std::move(start));
    }
    expect(":");
    auto stop = bound();
    auto step = skip_symbol(":") ? bound() : nullptr;
    expect("]");
    return make(Expr::slice, "", std::move(value), std::move(start), std::move(stop), std::move(step));
  }

  ExpressionPtr call(ExpressionPtr callee) {
    auto made = make(Expr::call, "", std::move(callee));
    read_arguments(*made);
    return made;
  }

  void read_arguments(Expression& made) {
    expect("(");
    for (bool first = true; !skip_symbol(")"); first = false) {
      if (!first) expect(",");
      if (skip_symbol(")")) break;
      if (now().is_symbol("*") || now().is_symbol("**")) fail("arguments from a list are not supported");
      if (now().kind == Kind::name && next().is_symbol("=")) {
        std::string name = take_name();
        expect("=");
        made.named.emplace_back(std::move(name), expression());
      } else {
        if (!made.named.empty()) fail("an argument without a name after one with");
        made.parts.push_back(expression());
      }
    }
  }

  /// Filters, tests and calls behind a value; nullptr: what a statement encloses.
  ExpressionPtr filters(ExpressionPtr value) {
    for (int links = 1;; ++links) {
      check_chain(links);
      if (skip_symbol("|"))
        value = filter(std::move(value));
      else if (value && skip_name("is"))
        value = test(std::move(value));
      else if (value && now().is_symbol("("))
        value = call(std::move(value));
      else
        return value;
    }
  }

  ExpressionPtr filter(ExpressionPtr value) {
    auto made = make(Expr::filter, take_name(), std::move(value));
    if (now().is_symbol(".")) fail("the filter '{}.' is not supported", made->name);
    if (now().is_symbol("(")) read_arguments(*made);
    return made;
  }

  ExpressionPtr test(ExpressionPtr value) {
    const bool negated = skip_name("not");
    auto made = make(Expr::test, take_name(), std::move(value));
    if (now().is_symbol("(")) {
      read_arguments(*made);
    } else if (starts_operand()) {
      if (now().is_name("is")) fail("tests in a row are not supported");
      made->parts.push_back(postfix(primary()));
    }
    return negated ? make(Expr::negation, "not", std::move(made)) : std::move(made);
  }

  bool starts_operand() const {
    const Token& token = now();
    if (token.kind == Kind::name) return token.text != "else" && token.text != "or" && token.text != "and";
    return token.kind == Kind::text || token.kind == Kind::integer || token.kind == Kind::real ||
           token.is_symbol("[") || token.is_symbol("{");
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  int loops_ = 0;  // around what is read
};

}  // namespace

Body parse(std::string_view template_text) { return Parser(tokens_of(template_text)).run(); }

}  // namespace greta::jinja
