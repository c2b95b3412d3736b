
#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/matrix_options.h"
#include "cli/output.h"
#include "engine/sampler.h"
#include "model/chat_template.h"

namespace greta::cli {
namespace {

struct RunOptions {
  CommonOptions common;
  std::string prompt;
  int64_t n = 128;
  double temperature = 0;
  uint64_t seed = 0;
  bool chat = false;
};

std::string prompt_text(const RunOptions& options, const Model& model) {
  if (is_built_in_prompt(options.prompt)) return load_prompt(options.prompt, model.file).text;
  const std::string text = prompt_of_text(options.prompt).text;
  if (!options.chat) return text;
  const ChatMessage message{"user", text};
  return apply_chat_template(model.file, std::span(&message, 1));
}

void generate(const RunOptions& options, const Context& context) {
  Engine engine = load_engine(options.common, context.environment);
  const Tokenizer tokenizer = Tokenizer::from(engine.model().file);
  const std::string& id = context.environment.trace_prompt_id;
  const Prompt prompt = encoded({id.empty() ? "run" : id, prompt_text(options, engine.model())}, tokenizer);
  const int64_t n = std::ssize(prompt.tokens);
  if (n == 0) fail_input("run: the prompt has no tokens; give some text with -p");

  const RouteTable routes = chosen_routes(options.common, context.environment);
  trace_attn_pipe(engine, prompt, routes, context.environment);
  Session session(
      engine, n + options.n,
      make_session_plans(
          engine,
          {.block = block_of(n, fast_block(engine)), .routes = routes, .steps = {routes}, .fast = true}));
  const auto n_tokens = static_cast<size_t>(tokenizer.vocab_size());
  Sampler sampler(options.temperature, options.seed);

  std::span<const float> logits = session.prefill(prompt.tokens);
  std::vector<TokenId> generated;
  std::string text;
  PrintableStream printed;
  for (int64_t i = 0; i < options.n; ++i) {
    if (is_interrupted() && !options.common.json) say_report(printed.end() + "\n");
    throw_if_interrupted("interrupted");
    // Rows that pad the table have no token.
    const TokenId token = sampler.next(logits.first(std::min(logits.size(), n_tokens)));
    if (tokenizer.ends_generation(token)) break;
    generated.push_back(token);
    const std::string piece = tokenizer.piece(token);
    text += piece;
    if (!options.common.json) {
      say_report(printed.add(piece));
      std::fflush(stdout);
    }
    if (i + 1 < options.n) logits = session.step(token);
  }
  if (options.common.json) {
    const nlohmann::json json = {{"prompt_ids", prompt.tokens}, {"ids", generated}, {"text", text}};
    say_json(json);
  } else {
    say_report(printed.end() + "\n");
  }
}

}  // namespace

void add_run(Program& program, Context& context) {
  auto options = std::make_shared<RunOptions>();
  Command command = program.command("run", "generate text");
  add_model_option(command, options->common);
  add_json_option(command, options->common);
  add_engine_options(command, options->common);
  add_attn_pipe_options(command, context.environment);
  command.option("-p,--prompt", options->prompt, "the text to go on from, or a built-in prompt")
      .required()
      .takes("TEXT");
  command.option("-n", options->n, "tokens to generate at most").range(1, 1 << 20);
  command.option("--temp", options->temperature, "0: greedy").range(0.0, 100.0);
  command.option("--seed", options->seed, "of the sampling");
  command.flag("--chat", options->chat, "as a user's turn in the model's chat format");
  command.footer(
      "Control characters in the text, other than line breaks and tabs, are printed\n"
      "as \\x1b, and so are bytes that are no UTF-8; --json has the characters.\n\n"
      "Example: greta run -m model.gguf --chat -p \"Why is the sky blue?\"");
  command.on_run([options, &context] { generate(*options, context); });
}

}  // namespace greta::cli
