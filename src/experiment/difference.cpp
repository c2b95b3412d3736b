#include "experiment/difference.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "experiment/plan_difference.h"
#include "judge/judge.h"

namespace greta {
namespace {

constexpr size_t kMostRows = 4;
constexpr int kRuns = 4;  // a race need not happen

/// The first rows that differ, the last, and those in the middle: few.
std::vector<int64_t> some_of(const std::vector<int64_t>& rows) {
  if (rows.size() <= kMostRows) return rows;
  const size_t n = rows.size();
  return {rows[0], rows[1], rows[n / 2], rows[n - 1]};
}

class Explanation {
 public:
  Explanation(const Program& program, const OwnTokensRequest& request, std::span<const int32_t> tokens,
              const OwnDifference& difference)
      : program_(program), request_(request), tokens_(tokens), difference_(difference) {}

  std::vector<Finding> findings(const Snapshot& expected, const Snapshot& observed, const Text& how) {
    const Deviation& first = difference_.first;
    if (first.what == kLostCount) return {lost_finding(first, only(difference_.phase))};
    if (first.layer == kNoLayer) {
      rows_ = {first.position};
      layers_ = {static_cast<int>(program_.engine().model().config.n_layer) - 1, kNoLayer};
    } else {
      rows_ = some_of(deviating_positions(expected, observed, first.layer));
      layers_ = {first.layer};
      if (first.layer > 0) layers_.insert(layers_.begin(), first.layer - 1);
    }
    const Text where = told_first(first);
    const Text told{how.en + " The " + where.en + ".", how.es + " La " + where.es + "."};
    request_.step("recording and judging the rows that differ");
    std::vector<Finding> found = judged();
    for (Finding& finding : found) finding.difference = {"", {told}, first};
    if (found.empty()) found = of_plans(told);
    if (found.empty()) found.push_back(repeats() ? unknown(told) : not_repeatable(told));
    return found;
  }

 private:
  std::vector<Finding> judged() {
    OwnRecording recording(program_, request_.manifest);
    recording.add_prompt(kOwnPrompt, tokens_);
    for (const Way* way : {&difference_.way, &difference_.other}) {
      if (way == &difference_.other && difference_.other.blocks.empty() && difference_.way.blocks.empty())
        continue;
      way->blocks.empty() ? record_steps(recording) : record_blocks(recording, *way);
    }
    const int threads = program_.engine().options().threads;
    const Bundle bundle = std::move(recording).complete();
    if (bundle.events.empty()) return {};
    return judge(bundle, program_.engine().model(), {.threads = threads}).findings;
  }

  void record_blocks(OwnRecording& recording, const Way& way) {
    Runner runner(program_.engine(), program_.engine().pool(), std::ssize(tokens_));
    int64_t at = 0;
    for (const int64_t n : way.blocks) {
      std::vector<int64_t> rows;
      std::copy_if(rows_.begin(), rows_.end(), std::back_inserter(rows),
                   [&](int64_t row) { return row >= at && row < at + n; });
      const auto block = tokens_.subspan(static_cast<size_t>(at), static_cast<size_t>(n));
      if (rows.empty()) {
        runner.forward(program_.plan(Phase::prefill, n, false, {}), block);
      } else {
        // A neighbour: a second row says that this was a block, and two others would read as a range.
        const int64_t beside = rows[0] + 1 < at + n ? rows[0] + 1 : std::max(at, rows[0] - 1);
        rows.push_back(beside);
        std::sort(rows.begin(), rows.end());
        rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
        recording.run(runner, kOwnPrompt, Phase::prefill, block, layers_, rows);
      }
      at += n;
      if (at > rows_.back()) return;
    }
  }

  /// Each step after what the tokens before it left at once.
  void record_steps(OwnRecording& recording) {
    Runner runner(program_.engine(), program_.engine().pool(), std::ssize(tokens_));
    const int64_t n = rows_.back() + 1;
    const Way at_once{.blocks = blocks_of(n, program_.request().prefill_block)};
    program_.run(at_once, tokens_.first(static_cast<size_t>(n)), {}, {}, &runner);
    for (auto row = rows_.rbegin(); row != rows_.rend(); ++row) {
      runner.cache().truncate(*row);
      recording.run(runner, kOwnPrompt, Phase::decode, tokens_.subspan(static_cast<size_t>(*row), 1), layers_,
                    {*row});
    }
  }

  std::span<const int32_t> tokens_of(const Way& way) const {
    const int64_t n = std::accumulate(way.blocks.begin(), way.blocks.end(), int64_t{0});
    return tokens_.first(static_cast<size_t>(n == 0 ? rows_.back() + 1 : n));
  }

  /// Whether either way leaves the same bits each time.
  bool repeats() const {
    request_.step("the runs that differ, again");
    for (const Way* way : {&difference_.way, &difference_.other}) {
      const Snapshot once = program_.run(*way, tokens_of(*way));
      for (int run = 1; run < kRuns; ++run) {
        if (first_deviation(once, program_.run(*way, tokens_of(*way)))) return false;
      }
    }
    return true;
  }

  /// Whether either way leaves other bits as it is recorded.
  std::vector<Finding> of_plans(const Text& told) {
    for (const Way* way : {&difference_.way, &difference_.other}) {
      const auto tokens = tokens_of(*way);
      const auto run = [&](const Making& making, bool used) {
        Way held = *way;
        held.used = held.used || used;
        return program_.run(held, tokens, making);
      };
      Snapshot recorded = run(as_recorded(), false);
      const auto first = first_deviation(recorded, run({}, false));
      if (!first) continue;
      const PlanTrial trial{.phase = way->blocks.empty() ? Phase::decode : Phase::prefill,
                            .run = run,
                            .recorded = std::move(recorded),
                            .first = *first};
      std::vector<Finding> found = why_plan_differs(program_, trial, request_.step);
      for (Finding& finding : found) finding.difference->told.insert(finding.difference->told.begin(), told);
      return found;
    }
    return {};
  }

  Finding not_repeatable(const Text& told) const {
    return difference_finding(only(difference_.phase), difference_.first, RunCause::not_repeatable,
                              what(RunCause::not_repeatable), {told});
  }

  Finding unknown(const Text& told) const {
    const bool of_blocks = !difference_.way.blocks.empty();
    const Text title = of_blocks ? Text{"what a prompt leaves depends on how it is cut into blocks",
                                        "lo que deja un prompt depende de cómo se corta en bloques"}
                                 : what(RunCause::prefill_unlike_decode);
    return difference_finding(of_blocks ? Phases::prefill : Phases::both, difference_.first,
                              of_blocks ? RunCause::block_edges : RunCause::prefill_unlike_decode, title,
                              {told,
                               {"Recorded one by one the rows that differ are within rounding: the fault "
                                "lies in what a run leaves to "
                                "the next.",
                                "Registradas una a una, las filas que difieren quedan dentro del redondeo: "
                                "el fallo está en lo que una "
                                "ejecución deja a la siguiente."}});
  }

  const Program& program_;
  const OwnTokensRequest& request_;
  const std::span<const int32_t> tokens_;
  const OwnDifference& difference_;
  std::vector<int64_t> rows_;
  std::vector<int> layers_;
};

}  // namespace

std::vector<Finding> explain_difference(const Program& program, const OwnTokensRequest& request,
                                        std::span<const int32_t> tokens, const OwnDifference& difference,
                                        const Snapshot& expected, const Snapshot& observed, const Text& how) {
  return Explanation(program, request, tokens, difference).findings(expected, observed, how);
}

}  // namespace greta
