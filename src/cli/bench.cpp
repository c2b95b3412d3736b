#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/timing.h"
#include "cli/bench_profile.h"
#include "cli/commands.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "engine/session.h"
#include "kernels/ceilings.h"
#include "model/prompt.h"

namespace greta::cli {
namespace {

struct BenchOptions {
  CommonOptions common;
  int64_t prefill = 200;
  int64_t decode = 64;
  std::vector<int64_t> depths;  // empty: kDepths, as far as the context reaches
  int rounds = 5;
  bool profile = false;
};

constexpr std::array<int64_t, 3> kDepths{0, 1024, 4096};
constexpr int kReadRounds = 3;  // of 512 MiB each

/// Over the rounds: tokens per second, or what else is measured in each.
struct Speed {
  double median = 0, least = 0, most = 0;
};

Speed summarise(std::vector<double> rates) {
  std::sort(rates.begin(), rates.end());
  return {median(rates), rates.front(), rates.back()};
}

/// Plain reading of memory beside decode: bytes per second, and the part of it that reading weights reached.
struct ReadShare {
  Speed read, share;
};

bool is_card(const CommonOptions& options) { return find_device(options.device).kind == DeviceKind::gpu; }

/// The options, if they ask for what can be measured: the profile's clock and its ceilings are the host's.
const BenchOptions& measurable(const BenchOptions& options) {
  const std::string& device = options.common.device;
  if (find_device(device).kind == DeviceKind::emulated)
    fail_input("--device {}: an emulated card's speed says nothing; bench measures cpu, cuda and sim devices",
               device);
  if (options.profile && is_card(options.common))
    fail_input("--profile --device {}: the profile is of the host's kernels; leave out one of the two",
               device);
  return options;
}

class Bench {
 public:
  Bench(const BenchOptions& options, const Context& context)
      : options_(measurable(options)),
        engine_(load_engine(options.common, context.environment)),
        routes_(chosen_routes(options.common, context.environment)),
        plans_(make_session_plans(
            engine_, {.block = fast_block(engine_), .routes = routes_, .steps = {routes_}, .fast = true})) {}

  Speed prefill() {
    return repeat(options_.prefill, [&](int) {
      Session session(engine_, options_.prefill, plans_);
      const std::vector<TokenId> tokens = some_tokens(options_.prefill);
      return seconds_of([&] { session.prefill(tokens); });
    });
  }

  /// `share`, unless null: of what plain reading reaches just before and after each round.
  Speed decode(int64_t depth, ReadShare* share) {
    Session session(engine_, depth + options_.decode, plans_);
    const std::vector<TokenId> tokens = some_tokens(depth + options_.decode);
    session.fill(std::span(tokens).first(static_cast<size_t>(depth)));
    const double bytes = static_cast<double>(options_.decode * engine_.weights().bytes_per_token());
    std::vector<double> reads, shares;
    double before = 0;
    std::optional<ReadMeter> meter;  // 512 MiB that prefill has no use for
    const bool card = is_card(options_.common);
    if (share != nullptr && !card) meter.emplace(engine_.pool());
    const auto plain = [&] { return meter ? meter->measure(kReadRounds) : engine_.card_reads(); };
    const Speed speed = repeat(options_.decode, [&](int round) {
      // What was cut off is cut off on the host: a step that is not timed brings the cache back to a card.
      session.cache().truncate(std::max<int64_t>(0, depth - 1));
      if (depth > 0) session.step(tokens[static_cast<size_t>(depth - 1)]);
      if (share != nullptr) before = plain();
      const double time = seconds_of([&] {
        for (const TokenId token : std::span(tokens).subspan(static_cast<size_t>(depth))) session.step(token);
      });
      if (share != nullptr && round > 0) {
        reads.push_back((before + plain()) / 2);
        shares.push_back(bytes / time / reads.back());
      }
      return time;
    });
    if (share != nullptr) *share = {summarise(reads), summarise(shares)};
    return speed;
  }

  /// Where one prefill, and `options.decode` steps at the first depth, spend their time.
  void profile(Profile& prefill, Profile& decode, int64_t depth) {
    const std::vector<TokenId> tokens = some_tokens(std::max(options_.prefill, depth + options_.decode));
    const std::span all(tokens);
    SessionPlans plans = plans_;
    for (Plan* plan : {&plans.inner, &plans.last}) prefill.attach(*plan);
    Session whole(engine_, options_.prefill, std::move(plans));
    for (int round = 0; round < 2; ++round) {  // the first warms up
      prefill.clear();
      whole.cache().truncate(0);
      whole.prefill(all.first(static_cast<size_t>(options_.prefill)));
    }
    plans = plans_;
    decode.attach(plans.steps.front());
    Session steps(engine_, depth + options_.decode, std::move(plans));
    steps.fill(all.first(static_cast<size_t>(depth)));
    steps.step(all[static_cast<size_t>(depth)]);  // warms up
    decode.clear();
    steps.cache().truncate(depth);
    for (const TokenId token : all.subspan(static_cast<size_t>(depth), static_cast<size_t>(options_.decode)))
      steps.step(token);
  }

  Engine& engine() { return engine_; }

  std::vector<std::string> kernels() const {
    std::vector<std::string> names;
    for (const Plan* plan : {&plans_.last, &plans_.steps.front()}) {
      for (const Op& op : plan->ops()) {
        if (!is_kind(op, OpKind::matmul)) continue;
        const std::string& kernel = kernel_call(op)->kernel->name;
        if (std::find(names.begin(), names.end(), kernel) == names.end()) names.push_back(kernel);
      }
    }
    return names;
  }

 private:
  std::vector<TokenId> some_tokens(int64_t n) const {
    return vocabulary_walk(n, engine_.model().config.n_vocab);
  }

  /// Round 0 warms up, the others count.
  template <class F>
  Speed repeat(int64_t tokens, const F& round) {
    std::vector<double> rates;
    for (int i = 0; i <= options_.rounds; ++i) {
      throw_if_interrupted("interrupted");
      const double time = round(i);
      if (i > 0) rates.push_back(static_cast<double>(tokens) / time);
    }
    return summarise(rates);
  }

  const BenchOptions& options_;
  Engine engine_;
  RouteTable routes_;
  SessionPlans plans_;
};

nlohmann::json speed_json(const Speed& speed) {
  return {{"median", speed.median}, {"min", speed.least}, {"max", speed.most}};
}

/// What was measured.
struct Result {
  std::vector<int64_t> depths;
  Speed prefill;
  std::vector<Speed> decode;  // by depth
  double weight_bytes = 0;    // per token
  ReadShare memory;           // beside decode at the first depth
  Ceilings ceilings;
  Profile prefill_profile, decode_profile;  // empty unless asked for

  double decode_gb_s() const { return weight_bytes * decode.front().median / 1e9; }
};

Result measure(Bench& bench, const BenchOptions& options) {
  Result result;
  result.depths = options.depths;
  if (result.depths.empty()) {
    for (const int64_t depth : kDepths) {
      if (depth + options.decode <= bench.engine().model().config.n_ctx) result.depths.push_back(depth);
    }
  }
  result.prefill = bench.prefill();
  for (const int64_t depth : result.depths) {
    result.decode.push_back(bench.decode(depth, result.decode.empty() ? &result.memory : nullptr));
  }
  result.weight_bytes = static_cast<double>(bench.engine().weights().bytes_per_token());
  if (!is_card(options.common)) result.ceilings = measure_ceilings(bench.engine().pool());
  result.ceilings.read = result.memory.read.median;
  if (options.profile) bench.profile(result.prefill_profile, result.decode_profile, result.depths.front());
  return result;
}

void print_json(Bench& bench, const BenchOptions& options, const Result& result) {
  nlohmann::json json = {{"model", bench.engine().model().config.name},
                         {"device", options.common.device},
                         {"card", bench.engine().card()},
                         {"threads", bench.engine().options().threads},
                         {"isa", name(bench.engine().options().isa)},
                         {"prefill_tokens", options.prefill},
                         {"prefill_tok_s", result.prefill.median},
                         {"prefill", speed_json(result.prefill)},
                         {"decode_tokens", options.decode},
                         {"decode_tok_s", result.decode.front().median},
                         {"weight_bytes", result.weight_bytes},
                         {"decode_gb_s", result.decode_gb_s()},
                         {"read_ceiling_gb_s", result.ceilings.read / 1e9},
                         {"read_share", speed_json(result.memory.share)},
                         {"ceilings_gop_s", ceilings_json(result.ceilings)},
                         {"kernels", bench.kernels()}};
  for (size_t i = 0; i < result.decode.size(); ++i) {
    nlohmann::json entry = speed_json(result.decode[i]);
    entry["depth"] = result.depths[i];
    json["decode"].push_back(std::move(entry));
  }
  if (options.profile) {
    json["profile"] = {{"prefill", profile_json(result.prefill_profile, result.ceilings)},
                       {"decode", profile_json(result.decode_profile, result.ceilings)}};
  }
  say_json(json, 2);
}

void print_text(Bench& bench, const BenchOptions& options, const Result& result) {
  Engine& engine = bench.engine();
  const std::string where = is_card(options.common) ? engine.card()
                                                    : fmt::format("{} threads, {}", engine.options().threads,
                                                                  name(engine.options().isa));
  say("{}, {};\n{:.1f} MB of weights per token; {} rounds\n\n", engine.model().config.name, where,
      result.weight_bytes / 1e6, options.rounds);
  say("{:<24} {:>12} {:>12} {:>12}\n", "tok/s", "median", "min", "max");
  const auto row = [](const std::string& label, const Speed& speed) {
    say("{:<24} {:>12.1f} {:>12.1f} {:>12.1f}\n", label, speed.median, speed.least, speed.most);
  };
  row(fmt::format("prefill of {}", options.prefill), result.prefill);
  for (size_t i = 0; i < result.decode.size(); ++i) {
    row(fmt::format("decode at depth {}", result.depths[i]), result.decode[i]);
  }
  const Speed& share = result.memory.share;
  say("\ndecode reads {:.1f} GB/s of weights; plain reading, by turns, {:.1f} GB/s\n", result.decode_gb_s(),
      result.ceilings.read / 1e9);
  say("share of plain reading by rounds: median {:.0f} %, {:.0f} to {:.0f} %\n", 100 * share.median,
      100 * share.least, 100 * share.most);
  if (!options.profile) return;
  print_profile(fmt::format("prefill of {}", options.prefill), result.prefill_profile, result.ceilings);
  print_profile(fmt::format("{} steps of decode at depth {}", options.decode, result.depths.front()),
                result.decode_profile, result.ceilings);
  print_ceilings(result.ceilings);
}

void run_bench(const BenchOptions& options, const Context& context) {
  Bench bench(options, context);
  const Result result = measure(bench, options);
  options.common.json ? print_json(bench, options, result) : print_text(bench, options, result);
}

}  // namespace

void add_bench(Program& program, Context& context) {
  auto options = std::make_shared<BenchOptions>();
  Command command = program.command("bench", "tokens per second of prefill and decode");
  add_model_option(command, options->common);
  add_json_option(command, options->common);
  add_engine_options(command, options->common);
  command.option("--prompt-tokens", options->prefill, "tokens of prefill").range(1, 1 << 20);
  command.option("-n", options->decode, "tokens of decode").range(1, 1 << 20);
  command.option("--depth", options->depths, "cached positions; default 0,1024,4096")
      .comma_separated()
      .range(0, 1 << 20);
  command.option("-r", options->rounds, "rounds").range(1, 1000);
  command.flag("--profile", options->profile, "time by stage, and how near to a ceiling");
  command.footer("Example: greta bench -m model.gguf --prompt-tokens 200 -n 64 --depth 0,1024 -r 5");
  command.on_run([options, &context] { run_bench(*options, context); });
}

}  // namespace greta::cli
