#include "engine/perplexity.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "model/prompt.h"
#include "model/tokenizer.h"

namespace greta::cli {
namespace {

struct PerplexityOptions {
  CommonOptions common;
  std::string file;
  int64_t chunk = 512;
};

void run_perplexity(const PerplexityOptions& options, const Context& context) {
  const std::string text = load_prompt(options.file).text;
  Engine engine = load_engine(options.common, context.environment);
  const Tokenizer tokenizer = Tokenizer::from(engine.model().file);
  const bool adds_bos = tokenizer.adds_bos();
  const std::vector<TokenId> tokens = tokenizer.encode(text, adds_bos, false);
  const Perplexity result = [&] {
    Progress progress;  // gone before the result is printed
    return measure_perplexity(engine, chosen_routes(options.common, context.environment), tokens,
                              options.chunk, adds_bos ? tokens.front() : -1,
                              [&](int64_t done, int64_t total) {
                                throw_if_interrupted("interrupted");
                                progress.show(static_cast<int>(done), static_cast<int>(total), "chunks");
                              });
  }();
  const double value = result.value();
  if (options.common.json) {
    const nlohmann::json json = {{"model", engine.model().config.name},
                                 {"file", options.file},
                                 {"chunk", options.chunk},
                                 {"tokens", tokens.size()},
                                 {"predicted", result.tokens},
                                 {"perplexity", value},
                                 {"standard_error", value * result.error},
                                 {"mean_loss", result.mean}};
    say_json(json, 2);
    return;
  }
  say("perplexity {:.4f} +- {:.4f}: {} tokens predicted, the second halves of chunks of {}\n", value,
      value * result.error, result.tokens, options.chunk);
}

}  // namespace

void add_perplexity(Program& program, Context& context) {
  auto options = std::make_shared<PerplexityOptions>();
  Command command = program.command("perplexity", "how well the model foresees a text");
  add_model_option(command, options->common);
  add_json_option(command, options->common);
  add_engine_options(command, options->common);
  command.option("-f,--file", options->file, "the text, UTF-8").required().takes("FILE");
  command.option("--chunk", options->chunk, "tokens that share a context; llama-perplexity's -c")
      .range(2, 1 << 20);
  command.footer(
      "As llama-perplexity counts: the same number for the same file and chunk.\n"
      "Example:\n  greta perplexity -m model.gguf -f bench/text/ecclesiastes_ruth_jonah.txt");
  command.on_run([options, &context] { run_perplexity(*options, context); });
}

}  // namespace greta::cli
