#include "judge/pair_judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "judge/stage_oracle.h"

namespace greta {
namespace {

std::vector<double> mae_by_head(std::span<const float> a, std::span<const float> b, int64_t heads) {
  std::vector<double> result;
  const size_t step = a.size() / static_cast<size_t>(heads);
  for (int64_t h = 0; h < heads; ++h) {
    const size_t at = static_cast<size_t>(h) * step;
    result.push_back(compare(a.subspan(at, step), b.subspan(at, step)).mae);
  }
  return result;
}

class PairJudge {
 public:
  explicit PairJudge(const PairRequest& request) : request_(request) {}

  StagePair pair_at(At at, bool differed_before) const {
    StagePair pair;
    pair.cell = request_.cell;
    pair.phase = request_.phase;
    pair.layer = at.layer;
    pair.stage = at.stage;
    const Event* a = request_.a.find(at);
    const Event* b = request_.b.find(at);
    if (a == nullptr || b == nullptr) {
      return missing(pair,
                     fmt::format("not recorded in {}", (a == nullptr ? request_.a : request_.b).phase()));
    }
    pair.hash_prefill = a->hash;
    pair.hash_decode = b->hash;
    if (a->hash == b->hash) {
      pair.metrics.count = a->summary.count;
      pair.head_mae.assign(static_cast<size_t>(heads(at.stage)), 0.0);
      pair.status = PairStatus::equal;
    } else if (!measure(*a, *b, pair)) {
      return pair;
    } else if (is_given(request_.a, at) || arrived_different(at, differed_before)) {
      pair.status = PairStatus::propagated;
    } else {
      pair.status = PairStatus::rounding;  // if the oracle says so
    }
    judge_alone(pair);
    return request_.not_comparable.empty() ? pair : missing(pair, request_.not_comparable);
  }

 private:
  static StagePair missing(StagePair pair, std::string why) {
    pair.status = PairStatus::missing;
    pair.why = std::move(why);
    return pair;
  }

  int64_t heads(Stage stage) const {
    return request_.config == nullptr ? 1 : row_heads(stage, *request_.config);
  }

  bool measure(const Event& a, const Event& b, StagePair& pair) const {
    const std::vector<float>* x = request_.a.data({pair.layer, pair.stage});
    const std::vector<float>* y = request_.b.data({pair.layer, pair.stage});
    if (x == nullptr || y == nullptr) {
      pair = missing(pair, "the two differ, and their data were not kept");
    } else if (a.shape != b.shape || x->size() != y->size()) {
      pair = missing(pair, fmt::format("shapes differ: [{}] and [{}]", fmt::join(a.shape, ", "),
                                       fmt::join(b.shape, ", ")));
    } else {
      pair.metrics = compare(*x, *y);
      pair.head_mae = mae_by_head(*x, *y, heads(pair.stage));
      return true;
    }
    return false;
  }

  /// The inputs differ already. Where some were not recorded: something recorded before differs.
  bool arrived_different(At at, bool differed_before) const {
    const auto inputs = recorded_inputs(request_.a, request_.config, at, request_.n_layer);
    const bool equal = std::all_of(inputs.begin(), inputs.end(), [&](At input) {
      const Event* a = request_.a.find(input);
      const Event* b = request_.b.find(input);
      return b != nullptr && a->hash == b->hash;
    });
    return !equal || (differed_before && !inputs_complete(request_.a, request_.config, at, request_.n_layer));
  }

  /// Each side against the oracle of its own inputs. What differs from equal inputs needs both; what is
  /// equal, or was unequal before, keeps its status where the oracle has nothing to say.
  void judge_alone(StagePair& pair) const {
    const bool needed = pair.status == PairStatus::rounding;
    if (request_.oracle == nullptr) {
      if (needed)
        pair = missing(pair, "the outputs of equal inputs differ; the noise to expect needs the model (-m)");
      return;
    }
    const JudgedStage* a = request_.oracle->find(request_.a, {pair.layer, pair.stage});
    const JudgedStage* b = request_.oracle->find(request_.b, {pair.layer, pair.stage});
    pair.why = a->why.empty() ? b->why : a->why;
    if (!a->judgement || !b->judgement) {
      if (needed || pair.why == kNothingTold) pair.status = PairStatus::missing;
      return;
    }
    pair.judged_alone = true;
    pair.noise_ratio_prefill = a->judgement->noise_ratio;
    pair.noise_ratio_decode = b->judgement->noise_ratio;
    pair.noise_ratio = std::max(pair.noise_ratio_prefill, pair.noise_ratio_decode);
    if (pair.noise_ratio > 1) pair.status = PairStatus::fault;
  }

  const PairRequest& request_;
};

}  // namespace

std::vector<StagePair> judge_pairs(const PairRequest& request) {
  std::set<At> order;
  for (const PhaseView* view : {&request.a, &request.b}) {
    for (const auto& [at, event] : view->events()) order.insert(at);
  }
  const PairJudge side_by_side(request);
  std::vector<StagePair> pairs;
  bool differed = false;
  for (const At at : order) {
    pairs.push_back(side_by_side.pair_at(at, differed));
    differed = differed || pairs.back().metrics.differing > 0;
  }
  return pairs;
}

}  // namespace greta
