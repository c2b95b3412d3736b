#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "engine/read_bandwidth.h"

namespace greta::cli {
namespace {

struct Options {
  CommonOptions common;
  int64_t prefill = 200;
  int64_t decode = 64;
  std::vector<int64_t> depths{0};
  int rounds = 5;
};

/// Tokens per second over the rounds.
struct Speed {
  double median = 0, least = 0, most = 0;
};

Speed summarise(std::vector<double> rates) {
  std::sort(rates.begin(), rates.end());
  const size_t middle = rates.size() / 2;
  const double median = rates.size() % 2 == 1 ? rates[middle] : (rates[middle - 1] + rates[middle]) / 2;
  return {median, rates.front(), rates.back()};
}

/// Ids that walk through the vocabulary: what they say is of no matter to the speed.
std::vector<TokenId> some_tokens(int64_t n, int64_t n_vocab) {
  std::vector<TokenId> tokens;
  for (int64_t i = 0; i < n; ++i) tokens.push_back(static_cast<TokenId>((i * 7919 + 13) % n_vocab));
  return tokens;
}

class Bench {
 public:
  Bench(const Options& options, const Context& context)
      : options_(options),
        engine_(load_engine(options.common, context.environment)),
        routes_(chosen_routes(options.common, context.environment)),
        inner_(engine_.plan(Phase::prefill, kPrefillBlock, routes_, false)),
        last_(engine_.plan(Phase::prefill, kPrefillBlock, routes_)),
        step_(engine_.plan(Phase::decode, 1, routes_)) {}

  Speed prefill() {
    return repeat(options_.prefill, [&] {
      Session session(engine_, options_.prefill);
      const std::vector<TokenId> tokens = some_tokens(options_.prefill, engine_.model().config.n_vocab);
      return seconds([&] { session.prefill(inner_, last_, tokens); });
    });
  }

  Speed decode(int64_t depth) {
    Session session(engine_, depth + options_.decode);
    const std::vector<TokenId> tokens = some_tokens(depth + options_.decode, engine_.model().config.n_vocab);
    if (depth > 0) session.prefill(inner_, inner_, std::span(tokens).first(static_cast<size_t>(depth)));
    return repeat(options_.decode, [&] {
      session.cache().truncate(depth);
      return seconds([&] {
        for (const TokenId& token : std::span(tokens).subspan(static_cast<size_t>(depth))) {
          session.forward(step_, std::span(&token, 1));
        }
      });
    });
  }

  Engine& engine() { return engine_; }

  std::vector<std::string> kernels() const {
    std::vector<std::string> names;
    for (const Plan* plan : {&last_, &step_}) {
      for (const Op& op : plan->ops) {
        if (op.kind != OpKind::matmul) continue;
        if (std::find(names.begin(), names.end(), op.kernel->name) == names.end())
          names.push_back(op.kernel->name);
      }
    }
    return names;
  }

 private:
  template <class F>
  static double seconds(const F& body) {
    const auto start = std::chrono::steady_clock::now();
    body();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }

  /// One round to warm up, then the rounds that count.
  template <class F>
  Speed repeat(int64_t tokens, const F& round) {
    std::vector<double> rates;
    for (int i = 0; i <= options_.rounds; ++i) {
      throw_if_interrupted("interrupted");
      const double time = round();
      if (i > 0) rates.push_back(static_cast<double>(tokens) / time);
    }
    return summarise(rates);
  }

  const Options& options_;
  Engine engine_;
  RouteTable routes_;
  Plan inner_, last_, step_;
};

nlohmann::json speed_json(const Speed& speed) {
  return {{"median", speed.median}, {"min", speed.least}, {"max", speed.most}};
}

void run(const Options& options, const Context& context) {
  Bench bench(options, context);
  const Speed prefill = bench.prefill();
  std::vector<Speed> decode;
  for (const int64_t depth : options.depths) decode.push_back(bench.decode(depth));
  const double weight_bytes = static_cast<double>(bench.engine().weights().bytes_per_token());
  const double gb_s = weight_bytes * decode.front().median / 1e9;
  const double ceiling = measure_read_bandwidth(bench.engine().pool(), int64_t{1} << 29, 5) / 1e9;
  const int threads = bench.engine().options().threads;

  if (options.common.json) {
    nlohmann::json json = {{"model", bench.engine().model().config.name},
                           {"threads", threads},
                           {"isa", name(bench.engine().options().isa)},
                           {"prefill_tokens", options.prefill},
                           {"prefill_tok_s", prefill.median},
                           {"prefill", speed_json(prefill)},
                           {"decode_tokens", options.decode},
                           {"decode_tok_s", decode.front().median},
                           {"weight_bytes", weight_bytes},
                           {"decode_gb_s", gb_s},
                           {"read_ceiling_gb_s", ceiling},
                           {"kernels", bench.kernels()}};
    for (size_t i = 0; i < decode.size(); ++i) {
      nlohmann::json entry = speed_json(decode[i]);
      entry["depth"] = options.depths[i];
      json["decode"].push_back(std::move(entry));
    }
    fmt::print("{}\n", json.dump(2));
    return;
  }
  fmt::print("{}, {} threads, {}, {:.1f} MB of weights per token; {} rounds\n\n",
             bench.engine().model().config.name, threads, name(bench.engine().options().isa),
             weight_bytes / 1e6, options.rounds);
  fmt::print("{:<24} {:>12} {:>12} {:>12}\n", "tok/s", "median", "min", "max");
  const auto row = [](const std::string& label, const Speed& speed) {
    fmt::print("{:<24} {:>12.1f} {:>12.1f} {:>12.1f}\n", label, speed.median, speed.least, speed.most);
  };
  row(fmt::format("prefill of {}", options.prefill), prefill);
  for (size_t i = 0; i < decode.size(); ++i) {
    row(fmt::format("decode at depth {}", options.depths[i]), decode[i]);
  }
  fmt::print("\ndecode reads {:.1f} GB/s of weights; memory reads at {:.1f} GB/s here ({:.0f} %)\n", gb_s,
             ceiling, 100 * gb_s / ceiling);
}

}  // namespace

void add_bench(CLI::App& program, Context& context) {
  auto options = std::make_shared<Options>();
  CLI::App* command = program.add_subcommand("bench", "tokens per second of prefill and decode");
  add_model_option(*command, options->common);
  add_json_option(*command, options->common);
  add_engine_options(*command, options->common);
  command->add_option("-p", options->prefill, "tokens of prefill")->check(CLI::Range(1, 1 << 20));
  command->add_option("-n", options->decode, "tokens of decode")->check(CLI::Range(1, 1 << 20));
  command->add_option("--depth", options->depths, "positions in the cache before decode")
      ->delimiter(',')
      ->check(CLI::Range(0, 1 << 20));
  command->add_option("-r", options->rounds, "rounds")->check(CLI::Range(1, 1000));
  command->footer("Example: greta bench -m model.gguf -p 200 -n 64 --depth 0,1024 -r 5");
  command->callback([options, &context] { run(*options, context); });
}

}  // namespace greta::cli
