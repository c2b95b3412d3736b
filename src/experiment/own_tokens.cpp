#include "experiment/own_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <random>

#include "engine/session.h"
#include "engine/session_plans.h"
#include "experiment/difference.h"
#include "experiment/exercise.h"
#include "experiment/plan_difference.h"

namespace greta {
namespace {

constexpr int64_t kOneStepOf = 6;                          // of so many of the others, which is drawn
constexpr int64_t kSessionTokens = 17, kSessionBlock = 7;  // two blocks, and the last one
// Remainders of every tile of rows, and the edges of lanes; in an order that is drawn.
constexpr std::array<int64_t, 7> kBlocks{1, 2, 3, 5, 6, 7, 33};
/// Steps from the first token on: logits of every block's end are known by them.
constexpr int64_t kInARow = std::accumulate(kBlocks.begin(), kBlocks.end(), int64_t{0});

std::vector<int32_t> tokens_from(std::vector<int32_t> prompt, int64_t n, int64_t n_vocab, uint64_t seed) {
  std::mt19937_64 noise(seed);
  prompt.resize(std::min(prompt.size(), static_cast<size_t>(n)));
  while (std::ssize(prompt) < n)
    prompt.push_back(static_cast<int32_t>(noise() % static_cast<uint64_t>(n_vocab)));
  return prompt;
}

/// Within n tokens.
std::vector<int64_t> drawn_blocks(int64_t n, uint64_t seed) {
  std::vector<int64_t> blocks(kBlocks.begin(), kBlocks.end()), cut;
  std::mt19937_64 noise(seed);
  for (size_t i = blocks.size(); i > 1; --i) std::swap(blocks[i - 1], blocks[noise() % i]);
  for (const int64_t rows : blocks) {
    if (n == 0) break;
    cut.push_back(std::min(rows, n));
    n -= cut.back();
  }
  return cut;
}

int64_t sum_of(const std::vector<int64_t>& blocks) {
  return std::accumulate(blocks.begin(), blocks.end(), int64_t{0});
}

class OwnTokens {
 public:
  OwnTokens(const Program& program, const OwnTokensRequest& request)
      : program_(program),
        request_(request),
        config_(program.engine().model().config),
        tokens_(
            tokens_from(request.prompt, std::min(kOwnTokens, config_.n_ctx), config_.n_vocab, request.seed)),
        at_once_{.blocks = blocks_of(std::ssize(tokens_), program.request().prefill_block)},
        in_blocks_{.blocks = drawn_blocks(std::ssize(tokens_), request.seed), .all_logits = true},
        runner_(program.engine(), program.engine().pool(), std::ssize(tokens_)) {}

  OwnTokensResult run() {
    request_.step("tokens of its own, at once");
    const Snapshot at_once = program_.run(at_once_, tokens_, {}, {}, &runner_);
    if (at_once.lost) {
      add_lost(*at_once.lost, Phases::prefill);
      return std::move(result_);
    }
    if (const auto first = first_deviation(request_.recorded, at_once)) {
      explain(Phase::prefill, at_once_, {}, *first, request_.recorded, at_once,
              {"A prompt as it was recorded was held against the same tokens with others after them.",
               "Un prompt tal como se registró se contrastó con los mismos tokens seguidos de otros."});
    }
    if (request_.at_its_last) hold_its_last(at_once);
    if (result_.differences.empty()) hold_steps(at_once);
    if (result_.differences.empty()) hold_drawn_steps(at_once);
    if (result_.differences.empty()) hold_every_step(at_once);
    if (result_.differences.empty()) hold_blocks(at_once);
    if (result_.differences.empty()) hold_session(at_once);
    if (result_.differences.empty()) judge_some(at_once);
    describe();
    return std::move(result_);
  }

 private:
  /// The prompt's last token by decode: after what was recorded, where what ran here is not that.
  void hold_its_last(const Snapshot& at_once) {
    const int64_t last = std::ssize(request_.prompt) - 1;
    if (result_.differences.empty()) {
      runner_.cache().truncate(last);
    } else if (is_whole(request_.recorded)) {
      write_cache_from(request_.recorded, last, runner_.cache());
    } else {
      return;
    }
    request_.at_its_last(runner_);
    restore(at_once);
  }

  void hold_steps(const Snapshot& at_once) {
    if (!program_.different_routes().empty()) return;
    request_.step("tokens of its own, one by one");
    std::set<int64_t> ends;
    int64_t at = 0;
    for (const int64_t rows : in_blocks_.blocks) ends.insert((at += rows) - 1);
    steps_ = program_.run({}, first_tokens(kInARow), {}, ends);
    result_.reach.steps_in_a_row = true;
    if (steps_.lost) return add_lost(*steps_.lost, Phases::decode);
    if (const auto first = first_deviation(at_once, steps_)) {
      explain(Phase::decode, {}, at_once_, *first, at_once, steps_,
              {"n tokens at once were held against n steps of decode.",
               "n tokens de una vez se contrastaron con n pasos de decode."});
    }
  }

  bool has_single_steps() const {
    return program_.different_routes().empty() && std::ssize(tokens_) > kInARow;
  }

  /// Single steps after what the tokens before them left at once.
  void hold_drawn_steps(const Snapshot& at_once) {
    if (!has_single_steps()) return;
    const Plan step = program_.plan(Phase::decode, 1, false, {});  // logits are known of the last token only
    std::mt19937_64 noise(request_.seed);
    std::vector<int64_t> drawn;
    for (int64_t at = kInARow; at < std::ssize(tokens_); at += kOneStepOf) {
      const int64_t position = at + static_cast<int64_t>(noise() % static_cast<uint64_t>(kOneStepOf));
      if (position < std::ssize(tokens_)) drawn.push_back(position);
    }
    std::ranges::reverse(drawn);  // the cache is cut back
    hold_single_steps(step, drawn, at_once, [&](int64_t position) { runner_.cache().truncate(position); });
  }

  /// All of them, as far as the first layer of each window shows what it attends to: in the next one's cache.
  void hold_every_step(const Snapshot& at_once) {
    if (!has_single_steps()) return;
    std::set<int64_t> windows;
    int last = 0;
    for (int layer = 0; layer + 1 < config_.n_layer; ++layer) {
      if (windows.insert(config_.layer(layer).window).second) last = layer + 1;
    }
    const Plan step = program_.plan(Phase::decode, 1, false, {.edit = [last](PlanEdit& edit) {
                                      edit.keep_only([last](const Op& op) { return op.layer <= last; });
                                    }});
    std::vector<int64_t> all(static_cast<size_t>(std::ssize(tokens_) - kInARow));
    std::iota(all.begin(), all.end(), kInARow);
    // What later layers hold stays.
    hold_single_steps(step, all, at_once, [&](int64_t position) { runner_.cache().set_length(position); });
  }

  void hold_single_steps(const Plan& step, const std::vector<int64_t>& positions, const Snapshot& at_once,
                         const std::function<void(int64_t position)>& go_to) {
    std::optional<Deviation> first;
    Snapshot observed;
    for (const int64_t position : positions) {
      go_to(position);
      Snapshot one;
      if (runner_.forward(step, std::span(tokens_).subspan(static_cast<size_t>(position), 1), one))
        read_cache_into(runner_.cache(), position, one);
      const auto deviation = first_deviation(at_once, one);
      if (!deviation || (first && first->layer <= deviation->layer)) continue;
      first = deviation;
      observed = std::move(one);
    }
    restore(at_once);
    if (!first) return;
    explain(Phase::decode, {}, at_once_, *first, at_once, observed,
            {"n tokens at once were held against single steps of decode.",
             "n tokens de una vez se contrastaron con pasos sueltos de decode."});
  }

  /// The runner's cache as it was when all tokens had been run.
  void restore(const Snapshot& at_once) { write_cache_from(at_once, std::ssize(tokens_), runner_.cache()); }

  std::span<const int32_t> first_tokens(int64_t n) const {
    return std::span(tokens_).first(static_cast<size_t>(std::min(n, std::ssize(tokens_))));
  }

  int other_threads() const {
    const int own = program_.engine().options().threads;
    // Faults have room for their engine's threads only.
    return own > 1 ? 1 : program_.request().change.edit ? 0 : 2;
  }

  /// Everything that must not matter at once; on a difference one after the other.
  void hold_blocks(const Snapshot& at_once) {
    request_.step("tokens of its own, in blocks");
    Way all = in_blocks_;
    all.threads = other_threads();
    all.used = true;
    Snapshot expected = at_once;
    for (Snapshot::Logits& logits : steps_.logits) expected.logits.push_back(std::move(logits));
    const auto differs = [&](const Way& way) {
      return first_deviation(expected, program_.run(way, first_tokens(sum_of(way.blocks))));
    };
    const auto first = differs(all);
    if (!first) return;
    if (const auto of_blocks = differs(in_blocks_)) {
      if (of_blocks->what == kLostCount) return add_lost(*of_blocks, Phases::prefill);
      return explain(Phase::prefill, in_blocks_, at_once_, *of_blocks, expected,
                     program_.run(in_blocks_, first_tokens(sum_of(in_blocks_.blocks))),
                     {"n tokens at once were held against the same in blocks.",
                      "n tokens de una vez se contrastaron con los mismos en bloques."});
    }
    Way used = at_once_, threads = at_once_;
    used.used = true;
    threads.threads = all.threads;
    if (const auto of_used = differs(used)) {
      add(difference_finding(
          Phases::prefill, *of_used, RunCause::unused_is_read,
          {"something is read that nobody has written: a slot of the cache or the padding of "
           "a buffer",
           "se lee algo que nadie ha escrito: una posición de la caché o el relleno de un "
           "búfer"},
          {sentence(*of_used)}));
    } else if (const auto of_threads = all.threads > 0 ? differs(threads) : std::nullopt) {
      add(difference_finding(Phases::prefill, *of_threads, RunCause::thread_count,
                             {fmt::format("{} threads compute something else than {}", all.threads,
                                          program_.engine().options().threads),
                              fmt::format("{} hilos calculan otra cosa que {}", all.threads,
                                          program_.engine().options().threads)},
                             {sentence(*of_threads)}));
    } else {
      add(difference_finding(Phases::prefill, *first, RunCause::not_repeatable,
                             what(RunCause::not_repeatable), {sentence(*first)}));
    }
  }

  /// As a session cuts a prompt into blocks. Those of other rows were held above, so small ones will do.
  void hold_session(const Snapshot& at_once) {
    const std::span<const int32_t> tokens = first_tokens(kSessionTokens);
    const int64_t n = std::ssize(tokens);
    const MatrixRequest& matrix = program_.request();
    Session session(
        program_.engine(), n,
        make_session_plans(
            program_.engine(),
            {.block = kSessionBlock, .routes = matrix.routes, .fast = true, .change = matrix.change}));
    session.prefill(tokens);
    if (const auto lost = lost_count(session.cache(), n)) return add_lost(*lost, Phases::prefill);
    Snapshot cut;
    read_cache_into(session.cache(), 0, cut);
    if (const auto first = first_deviation(at_once, cut)) {
      add(difference_finding(Phases::prefill, *first, RunCause::block_edges, what(RunCause::block_edges),
                             {sentence(*first)}));
    }
  }

  void judge_some(const Snapshot& at_once) {
    request_.step("judging steps and blocks of its own");
    JudgedRuns judged = judge_own_runs(program_, request_, tokens_, runner_, at_once);
    for (Finding& finding : judged.differences) add(std::move(finding));
    result_.judged = judged.judged;
    result_.steps = std::move(judged.steps);
    result_.judged_kernels = std::move(judged.kernels);
    result_.reach.windows = std::move(judged.windows);
    result_.reach.caches.insert(judged.caches.begin(), judged.caches.end());
    result_.reach.positions = judged.positions;
  }

  /// `way` left `observed`, of which `first` is not as `other` left it.
  void explain(Phase phase, const Way& way, const Way& other, const Deviation& first,
               const Snapshot& expected, const Snapshot& observed, const Text& how) {
    OwnDifference difference;
    difference.phase = phase;
    difference.way = way;
    difference.other = other;
    difference.first = first;
    for (Finding& finding :
         explain_difference(program_, request_, tokens_, difference, expected, observed, how))
      add(std::move(finding));
  }

  static Text sentence(const Deviation& first) {
    const Text where = told_first(first);
    return {"Tokens of its own, n at once: " + where.en + ".",
            "Tokens propios, n de una vez: " + where.es + "."};
  }

  void add_lost(const Deviation& lost, Phases phase) { add(lost_finding(lost, phase)); }

  void add(Finding finding) {
    if (finding.cells.empty()) finding.cells = {{kOwnExperiment, kOwnPrompt}};
    result_.differences.push_back(std::move(finding));
  }

  void describe() {
    result_.tokens = std::ssize(tokens_);
    result_.blocks = in_blocks_.blocks;
    result_.reach.own = true;
    result_.reach.positions = std::max(result_.reach.positions, result_.tokens);
    result_.reach.block = std::min(program_.request().prefill_block, result_.tokens);
    if (other_threads() > 0) result_.reach.threads.insert(other_threads());
    for (const int64_t window : windows_within(config_, result_.tokens)) result_.reach.windows.insert(window);
  }

  const Program& program_;
  const OwnTokensRequest& request_;
  const ModelConfig& config_;
  const std::vector<int32_t> tokens_;
  const Way at_once_, in_blocks_;
  Runner runner_;
  Snapshot steps_;
  OwnTokensResult result_;
};

}  // namespace

OwnTokensResult check_own_tokens(const Program& program, const OwnTokensRequest& request) {
  return OwnTokens(program, request).run();
}

}  // namespace greta
