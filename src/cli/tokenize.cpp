#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/output.h"

namespace greta::cli {
namespace {

struct TokenizeOptions {
  CommonOptions common;
  bool no_bos = false;
  bool decode = false;
  std::vector<std::string> text;
};

std::vector<TokenId> parse_ids(const std::vector<std::string>& words) {
  std::vector<TokenId> ids;
  for (const std::string& word : words) {
    for (size_t at = 0; at < word.size();) {
      const size_t end = std::min(word.find_first_of(", \n", at), word.size());
      TokenId id = 0;
      const auto [stop, error] = std::from_chars(word.data() + at, word.data() + end, id);
      if (end > at && (error != std::errc{} || stop != word.data() + end)) {
        fail_input("tokenize --decode: \"{}\" is no token id", word.substr(at, end - at));
      }
      if (end > at) ids.push_back(id);
      at = end + 1;
    }
  }
  return ids;
}

void print(const TokenizeOptions& options, const std::vector<TokenId>& ids, const std::string& text) {
  if (options.common.json) {
    const nlohmann::json json = {{"ids", ids}, {"text", text}};
    say_json(json);
  } else if (options.decode) {
    say_report(printable_lines(text) + "\n");
  } else {
    say_report(fmt::format("{}\n", fmt::join(ids, " ")));
  }
}

/// What was given, or else what standard input has.
std::vector<std::string> given(const TokenizeOptions& options) {
  if (!options.text.empty()) return options.text;
  if (isatty(STDIN_FILENO) != 0) fail_input("tokenize: give a text, or one on standard input");
  return {std::string(std::istreambuf_iterator<char>(std::cin), {})};
}

void run_tokenize(const TokenizeOptions& options) {
  const std::vector<std::string> words = given(options);
  const ModelFile file = open_model_file(options.common.model);
  const Tokenizer tokenizer = Tokenizer::from(file);
  if (options.decode) {
    const std::vector<TokenId> ids = parse_ids(words);
    print(options, ids, tokenizer.decode(ids));
  } else {
    const std::string text = fmt::format("{}", fmt::join(words, " "));
    print(options, tokenizer.encode(text, !options.no_bos && tokenizer.adds_bos()), text);
  }
}

}  // namespace

void add_tokenize(Program& program, Context&) {
  auto options = std::make_shared<TokenizeOptions>();
  Command command = program.command("tokenize", "text to token ids and back");
  add_model_option(command, options->common);
  add_json_option(command, options->common);
  command.flag("--no-bos", options->no_bos, "no BOS, even if the model's header asks for one");
  command.flag("--decode", options->decode, "ids to text (control characters as \\x1b)");
  command.option("text", options->text, "text or ids, else stdin; -- before a leading -");
  command.footer("Example: greta tokenize -m model.gguf --no-bos -- \"Hello world\"");
  command.on_run([options] { run_tokenize(*options); });
}

}  // namespace greta::cli
