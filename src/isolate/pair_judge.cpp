#include "isolate/pair_judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "isolate/stage_oracle.h"

namespace greta::isolate {
namespace {

/// Heads of a stage's values: the first dimension that is not positions, where the stage has heads.
int64_t heads_of(Stage stage, const trace::Event& event, const Model* model) {
  switch (stage) {
    case Stage::qk:
    case Stage::softmax: return event.shape.size() == 3 ? event.shape[1] : 1;
    case Stage::q:
    case Stage::q_norm:
    case Stage::q_rope:
    case Stage::pv: return model == nullptr ? 1 : model->config.n_head;
    case Stage::k:
    case Stage::k_norm:
    case Stage::k_rope:
    case Stage::v: return model == nullptr ? 1 : model->config.n_head_kv;
    default: return 1;
  }
}

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

  StagePair judge(Stage stage, int layer) const {
    StagePair pair;
    pair.cell = request_.cell;
    pair.layer = layer;
    pair.stage = stage;
    const trace::Event* a = request_.a.find(stage, layer);
    const trace::Event* b = request_.b.find(stage, layer);
    if (a == nullptr || b == nullptr) {
      return missing(pair,
                     fmt::format("not recorded in {}", (a == nullptr ? request_.a : request_.b).label()));
    }
    pair.hash_prefill = a->hash;
    pair.hash_decode = b->hash;
    if (a->hash == b->hash) {
      pair.metrics.count = a->summary.count;
      pair.head_mae.assign(static_cast<size_t>(heads_of(stage, *a, request_.model)), 0.0);
      pair.status = Status::equal;
    } else if (!measure(*a, *b, pair)) {
      return pair;
    } else if (!inputs_equal(stage, layer)) {
      pair.status = Status::propagated;
    } else {
      convict(pair);
    }
    return request_.not_comparable.empty() ? pair : missing(pair, request_.not_comparable);
  }

 private:
  static StagePair missing(StagePair pair, std::string why) {
    pair.status = Status::missing;
    pair.why = std::move(why);
    return pair;
  }

  bool measure(const trace::Event& a, const trace::Event& b, StagePair& pair) const {
    const std::vector<float>* x = request_.a.data(pair.stage, pair.layer);
    const std::vector<float>* y = request_.b.data(pair.stage, pair.layer);
    if (x == nullptr || y == nullptr) {
      pair = missing(pair, "the two differ, and their data were not kept");
    } else if (a.shape != b.shape || x->size() != y->size()) {
      pair = missing(pair, fmt::format("shapes differ: [{}] and [{}]", fmt::join(a.shape, ", "),
                                       fmt::join(b.shape, ", ")));
    } else {
      pair.metrics = compare(*x, *y);
      pair.head_mae = mae_by_head(*x, *y, heads_of(pair.stage, a, request_.model));
      return true;
    }
    return false;
  }

  bool inputs_equal(Stage stage, int layer) const {
    const auto inputs = recorded_inputs(request_.a, stage, layer, request_.n_layer - 1);
    return std::all_of(inputs.begin(), inputs.end(), [&](const auto& at) {
      const trace::Event* a = request_.a.find(at.first, at.second);
      const trace::Event* b = request_.b.find(at.first, at.second);
      return b != nullptr && a->hash == b->hash;
    });
  }

  /// Equal inputs, different outputs: each side against the oracle.
  void convict(StagePair& pair) const {
    if (request_.model == nullptr) {
      pair = missing(pair, "the outputs of equal inputs differ; the noise to expect needs the model (-m)");
      return;
    }
    std::string why;
    const auto side = [&](const PhaseView& view) {
      return judge_stage({*request_.model, view, request_.tokens}, pair.stage, pair.layer, &why);
    };
    const std::optional<Judgement> a = side(request_.a);
    const std::optional<Judgement> b = side(request_.b);
    if (!a || !b) {
      pair = missing(pair, why);
      return;
    }
    pair.noise_ratio_prefill = a->noise_ratio;
    pair.noise_ratio_decode = b->noise_ratio;
    pair.noise_ratio = std::max(a->noise_ratio, b->noise_ratio);
    pair.status = pair.noise_ratio <= 1 ? Status::rounding : Status::fault;
  }

  const PairRequest& request_;
};

}  // namespace

std::vector<StagePair> judge_pairs(const PairRequest& request) {
  // Execution order: what is outside the layers comes last.
  std::set<std::pair<int, Stage>> order;
  for (const PhaseView* view : {&request.a, &request.b}) {
    for (const auto& [at, event] : view->events()) {
      order.insert({at.first == kNoLayer ? request.n_layer : at.first, at.second});
    }
  }
  const PairJudge judge(request);
  std::vector<StagePair> pairs;
  for (const auto& [rank, stage] : order)
    pairs.push_back(judge.judge(stage, rank == request.n_layer ? kNoLayer : rank));
  return pairs;
}

}  // namespace greta::isolate
