// Runs that are recorded and judged as a matter of course: across edges, in other formats of the cache.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <set>

#include "experiment/difference.h"
#include "experiment/exercise.h"
#include "experiment/plan_difference.h"
#include "judge/judge.h"

namespace greta {
namespace {

// Steps on both sides of the edges of lanes, tiles and blocks; the largest first, as the cache is cut back.
constexpr std::array<int64_t, 14> kEdges{257, 256, 255, 129, 128, 127, 65, 64, 63, 33, 32, 31, 16, 15};
constexpr int64_t kInnerBlock = 97, kInnerRows = 17;  // a block in the middle of a prompt
// In other formats of the cache: a history across a tile's edge, a block across the next one (a tile of 8
// rows and one more), a step.
constexpr int64_t kCacheHistory = 25, kCacheBlock = 9;
constexpr int64_t kFarthest = 4096;  // an edge of a window that is worth a cache that long
constexpr size_t kStepLayers = 1, kSomeLayers = 2;

class OwnRuns {
 public:
  OwnRuns(const Program& program, const OwnTokensRequest& request, std::span<const int32_t> tokens,
          Runner& runner, const Snapshot& at_once)
      : program_(program),
        request_(request),
        config_(program.engine().model().config),
        tokens_(tokens),
        runner_(runner),
        at_once_(at_once),
        recording_(program, request.manifest) {
    recording_.add_prompt(kOwnPrompt, tokens);
  }

  JudgedRuns run() {
    all_rows_of_a_layer();
    steps_and_inner_block();
    for (const Format format : cache_formats(config_)) other_cache(format);
    for (const int64_t window : windows_of(config_)) edge_of_window(window);
    judge_all();
    return std::move(result_);
  }

 private:
  std::span<const int32_t> token(int64_t position) const {
    return tokens_.subspan(static_cast<size_t>(position), 1);
  }

  std::vector<int> drawn_layers(size_t count = kSomeLayers) {
    const auto drawn = drawn_numbers(request_.seed + draws_++, static_cast<int>(count), config_.n_layer);
    return {drawn.begin(), drawn.end()};
  }

  /// What is made of a position, and of which others: a hole in a mask or a page, an angle, a tile's edge is
  /// alike in prefill and in decode, and lies where no single row may be drawn.
  void all_rows_of_a_layer() {
    std::vector<int64_t> rows(tokens_.size());
    std::iota(rows.begin(), rows.end(), 0);
    Runner runner(program_.engine(), program_.engine().pool(), std::ssize(tokens_));
    recording_.run(runner, kOwnPrompt, Phase::prefill, tokens_, drawn_layers(1), rows);
  }

  void steps_and_inner_block() {
    const int64_t n = std::ssize(tokens_);
    bool inner = n > kInnerBlock + kInnerRows;
    for (const int64_t edge : kEdges) {
      if (edge >= n) continue;
      if (inner && edge < kInnerBlock + kInnerRows) {
        inner = false;
        runner_.cache().truncate(kInnerBlock);
        std::vector<int64_t> rows = drawn_numbers(request_.seed, 4, kInnerRows);
        for (int64_t& row : rows) row += kInnerBlock;
        recording_.run(runner_, kOwnPrompt, Phase::prefill, tokens_.subspan(kInnerBlock, kInnerRows),
                       drawn_layers(), rows);
      }
      runner_.cache().truncate(edge);
      std::vector<int> layers = drawn_layers(kStepLayers);
      if (result_.steps.empty()) layers.push_back(kNoLayer);
      recording_.run(runner_, kOwnPrompt, Phase::decode, token(edge), layers, {edge});
      hold_step(edge);
      result_.steps.push_back(edge);
    }
    std::reverse(result_.steps.begin(), result_.steps.end());
    result_.positions = n;
  }

  void hold_step(int64_t position) {
    if (!program_.different_routes().empty() || !result_.differences.empty()) return;
    Snapshot step;
    read_cache_into(runner_.cache(), position, step);
    const auto first = first_deviation(at_once_, step);
    if (!first) return;
    const Text where = told_first(*first);
    const Way at_once{.blocks = blocks_of(std::ssize(tokens_), program_.request().prefill_block)};
    if (const auto again = first_deviation(at_once_, program_.run(at_once, tokens_))) {
      const Text other = told_first(*again);
      return add({difference_finding(
                     Phases::prefill, *again, RunCause::not_repeatable, what(RunCause::not_repeatable),
                     {{"The same tokens at once, run again: " + other.en + ".",
                       "Los mismos tokens de una vez, ejecutados otra vez: " + other.es + "."}})},
                 kOwnPrompt);
    }
    add({difference_finding(Phases::both, *first, RunCause::prefill_unlike_decode,
                            {"n tokens at once do not leave what a step of decode leaves",
                             "n tokens de una vez no dejan lo mismo que un paso de decode"},
                            {{"The " + where.en + ".", "La " + where.es + "."}})},
        kOwnPrompt);
  }

  /// A block and a step in a cache of another format: recorded, and as production runs them, the block's
  /// last row as a step.
  void other_cache(Format format) {
    if (format == program_.engine().options().kv_format) return;
    const int64_t n = std::min(kCacheHistory + kCacheBlock + 1, std::ssize(tokens_)), last = n - 1;
    if (n < 4 || !program_.different_routes().empty()) return;
    const int64_t history = std::max<int64_t>(0, last - kCacheBlock), block = last - history;
    const auto tokens = tokens_.subspan(static_cast<size_t>(history), static_cast<size_t>(block));
    const std::string prompt = fmt::format("{}.{}", kOwnPrompt, name(format));
    recording_.add_prompt(prompt, tokens_.first(static_cast<size_t>(n)));
    std::vector<int64_t> rows = drawn_numbers(request_.seed, 3, block);
    if (rows.back() != block - 1) rows.push_back(block - 1);
    for (int64_t& row : rows) row += history;
    Runner runner(program_.engine(), program_.engine().pool(), n, format);
    make_up_history(runner.cache(), history);
    recording_.run(runner, prompt, Phase::prefill, tokens, drawn_layers(), rows);
    recording_.run(runner, prompt, Phase::decode, token(last), drawn_layers(), {last});
    Snapshot recorded;
    runner.read(recorded);
    result_.caches.insert(format);
    const auto run = [&](const Making& making, bool used) {
      Runner other(program_.engine(), program_.engine().pool(), n, format);
      make_up_history(other.cache(), history);
      const Way way{.blocks = {block - 1}, .used = used};
      Snapshot snapshot = program_.run(way, tokens.first(tokens.size() - 1), making, {}, &other);
      if (snapshot.lost) return snapshot;
      Snapshot all;
      const Plan step = program_.plan(Phase::decode, 1, true, making);
      for (int64_t at = last - 1; at <= last; ++at) {
        if (!other.forward(step, token(at), all)) return all;
      }
      other.read(all);
      return all;
    };
    const Snapshot unrecorded = run({}, false);
    const auto first = first_deviation(recorded, unrecorded);
    if (!first) return;
    add(why_plan_differs(program_, {Phase::prefill, run, std::move(recorded), *first}, request_.step),
        prompt);
  }

  /// Rows that the tokens left at once, over and over.
  void make_up_history(KvCache& cache, int64_t length) const {
    const int64_t n = std::ssize(tokens_);
    for (int layer = 0; layer < config_.n_layer; ++layer) {
      const std::vector<float>& rows = at_once_.cache[static_cast<size_t>(layer)];
      const size_t row = rows.size() / static_cast<size_t>(n);
      for (int64_t i = 0; i < length; ++i) {
        write_cache_row(cache.layer(layer), i,
                        std::span(rows).subspan(static_cast<size_t>(i % n) * row, row));
      }
    }
    cache.set_length(length);
  }

  /// Steps and a block across the edge of a window, after a history that is made up: its rows are those of
  /// the tokens, over and over. Each stage is judged by what it read.
  void edge_of_window(int64_t window) {
    const int64_t n = std::ssize(tokens_), end = window + 2;
    if (window < 3 || end > std::min(config_.n_ctx, kFarthest)) return;
    result_.windows.insert(window);
    result_.positions = std::max(result_.positions, end);
    const std::string prompt = fmt::format("{}.window{}", kOwnPrompt, window);
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < end; ++i) tokens.push_back(tokens_[static_cast<size_t>(i % n)]);
    recording_.add_prompt(prompt, tokens);
    Runner runner(program_.engine(), program_.engine().pool(), end);
    make_up_history(runner.cache(), window);
    const std::vector<int> layers = layers_with(window);
    runner.cache().set_length(window - 2);
    const std::span<const int32_t> all(tokens);
    recording_.run(runner, prompt, Phase::prefill, all.last(4), layers,
                   {window - 2, window - 1, window, window + 1});
    for (const int64_t at : {window + 1, window, window - 1}) {
      runner.cache().truncate(at);
      recording_.run(runner, prompt, Phase::decode, all.subspan(static_cast<size_t>(at), 1), layers, {at});
    }
  }

  /// The first layer with the window, and the first without one.
  std::vector<int> layers_with(int64_t window) const {
    std::vector<int> layers;
    for (const int64_t wanted : {window, int64_t{0}}) {
      for (int layer = 0; layer < config_.n_layer; ++layer) {
        if (config_.layer(layer).window != wanted) continue;
        layers.push_back(layer);
        break;
      }
    }
    return layers;
  }

  void judge_all() {
    const Bundle bundle = std::move(recording_).complete();
    add_kernels(bundle, result_.kernels);
    Verdict verdict =
        judge(bundle, program_.engine().model(), {.threads = program_.engine().options().threads});
    result_.judged = verdict.coverage.judged;
    for (Finding& finding : verdict.findings) {
      finding.difference = {
          "",
          {{fmt::format("Found beside the matrix, on tokens of its own (seed {}).", request_.seed),
            fmt::format("Hallado fuera de la matriz, con tokens propios (semilla {}).", request_.seed)}}};
    }
    std::vector<Finding> differ = std::move(result_.differences);
    result_.differences = std::move(verdict.findings);
    // What is judged wrong says more than that two runs differ.
    if (result_.differences.empty()) result_.differences = std::move(differ);
  }

  void add(std::vector<Finding> findings, const std::string& prompt) {
    for (Finding& finding : findings) {
      finding.cells = {{kOwnExperiment, prompt}};
      result_.differences.push_back(std::move(finding));
    }
  }

  const Program& program_;
  const OwnTokensRequest& request_;
  const ModelConfig& config_;
  const std::span<const int32_t> tokens_;
  Runner& runner_;
  const Snapshot& at_once_;
  OwnRecording recording_;
  uint64_t draws_ = 0;
  JudgedRuns result_;
};

}  // namespace

JudgedRuns judge_own_runs(const Program& program, const OwnTokensRequest& request,
                          std::span<const int32_t> tokens, Runner& runner, const Snapshot& at_once) {
  return OwnRuns(program, request, tokens, runner, at_once).run();
}

}  // namespace greta
