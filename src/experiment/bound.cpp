#include "experiment/bound.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "base/error.h"
#include "base/parallel.h"
#include "base/timing.h"
#include "judge/attest.h"
#include "judge/stage_oracle.h"
#include "numerics/bounds.h"
#include "numerics/metrics.h"
#include "record/matrix.h"
#include "record/recorder.h"

namespace greta {
namespace {

constexpr int64_t kMostPositions = 64;  // of a prompt, evenly spread: rows of logits are wide

RouteTable plain_routes() {
  RouteTable routes;
  routes.add(parse_route_rule("all=vector"));
  return routes;
}

/// The last one is among them.
std::vector<int64_t> looked_at(int64_t tokens) {
  const int64_t every = (tokens + kMostPositions - 1) / kMostPositions;
  std::vector<int64_t> positions;
  for (int64_t p = (tokens - 1) % every; p < tokens; p += every) positions.push_back(p);
  return positions;
}

/// What one run has at one place, position by position.
struct Rows {
  std::vector<float> values;
  std::vector<std::pair<int64_t, size_t>> begins;  // position, index of its first value

  std::span<const float> row(size_t i) const {
    const size_t end = i + 1 < begins.size() ? begins[i + 1].second : values.size();
    return std::span(values).subspan(begins[i].second, end - begins[i].second);
  }
};
using RunRows = std::map<int, Rows>;  // by layer

void append(const Event& event, std::span<const float> values, Rows& rows) {
  const std::vector<int64_t> positions = positions_of(event);
  if (positions.empty()) return;
  // Of the cache all positions so far are seen: later blocks see the earlier ones again.
  if (!rows.begins.empty() && positions.front() <= rows.begins.back().first) rows = {};
  const size_t width = values.size() / positions.size();
  for (size_t i = 0; i < positions.size(); ++i)
    rows.begins.emplace_back(positions[i], rows.values.size() + i * width);
  rows.values.insert(rows.values.end(), values.begin(), values.end());
}

/// ln softmax of each row.
void to_logprobs(Rows& rows) {
  for (size_t i = 0; i < rows.begins.size(); ++i) {
    const std::span<const float> row = rows.row(i);
    const double top = *std::max_element(row.begin(), row.end());
    double sum = 0;
    for (const float x : row) sum += std::exp(static_cast<double>(x) - top);
    const double all = top + std::log(sum);
    float* values = rows.values.data() + rows.begins[i].second;
    for (size_t j = 0; j < row.size(); ++j) values[j] = static_cast<float>(values[j] - all);
  }
}

/// A prefill of the prompt, as it is or with roundings of this draw.
RunRows run_once(Engine& engine, const BoundRequest& request, const Prompt& prompt,
                 std::optional<uint64_t> draw) {
  RunRows all;
  Recorder recorder(
      [&all](const Event& event, std::span<const float> values) { append(event, values, all[event.layer]); });
  const int64_t n = std::ssize(prompt.tokens);
  RecordScope scope;
  const bool outside = is_outside_layers(request.stage);
  scope.layers = [&](int layer) {
    return outside ? layer == kNoLayer
                   : std::find(request.layers.begin(), request.layers.end(), layer) != request.layers.end();
  };
  scope.stages = [&request](Stage stage) { return stage == request.stage; };
  scope.rows = [wanted = looked_at(n)](Stage, int64_t) { return wanted; };
  Plan plan = engine.plan(Phase::prefill, block_of(n), plain_routes());
  PlanEdit edit(plan);
  edit.unfuse_all();
  edit.keep_all_rows();
  if (draw) add_rounding(edit, request.precision, *draw);
  insert_records(edit, recorder, scope);
  edit.commit();
  Session session(engine, n, {.inner = plan, .last = plan, .steps = {}});
  session.prefill(prompt.tokens);
  if (request.logprobs) to_logprobs(all[kNoLayer]);
  return all;
}

constexpr double kTwoRuns = 1.4142135623730951;  // sqrt 2: both round

double of_two_runs(double draw_rms) { return bounds::kLambda * kTwoRuns * draw_rms; }
/// A rounding error is spread evenly within its bound; a draw is as large as the bound.
double typical_of(double draw_rms) { return kTwoRuns * draw_rms / std::sqrt(3.0); }

/// Half of the squared differences weighted by probability, at most: of two runs and of their mean.
double divergence_bound(double draw_mean) { return 2 * bounds::kLambda * bounds::kLambda * draw_mean; }
double typical_divergence(double draw_mean) { return 2 * draw_mean / 3; }

class Measurement {
 public:
  Measurement(Engine& engine, const BoundRequest& request) : engine_(engine), request_(request) {}

  void add(const Prompt& prompt, int number) {
    const RunRows plain = run_once(engine_, request_, prompt, std::nullopt);
    if (plain.empty()) fail_input("--stage {}: no op makes it", name(request_.stage));
    std::map<int, std::vector<double>> squares;
    std::vector<double> divergence(plain.begin()->second.begins.size());
    for (int draw = 0; draw < request_.draws; ++draw) {
      if (request_.progress) request_.progress(number * request_.draws + draw, total(), prompt.id);
      const RunRows moved =
          run_once(engine_, request_, prompt, request_.seed * 1000 + static_cast<uint64_t>(draw));
      for (const auto& [layer, rows] : plain) add_squares(prompt, rows, moved.at(layer), squares[layer]);
      if (request_.logprobs) add_divergence(plain.at(kNoLayer), moved.at(kNoLayer), divergence);
    }
    for (const auto& [layer, rows] : plain) {
      for (size_t r = 0; r < rows.begins.size(); ++r) conclude(prompt, layer, rows, r, squares[layer]);
    }
    if (request_.logprobs) {
      for (size_t r = 0; r < divergence.size(); ++r)
        conclude_logprobs(prompt, plain.at(kNoLayer), r, squares[kNoLayer], divergence[r] / request_.draws);
    }
  }

  void finish(RoundingBound& result) {
    for (auto& [layer, place] : places_) {
      place.layer = layer;
      result.places.push_back(std::move(place));
    }
    if (!request_.logprobs) return;
    result.top1 = std::move(top_);
    result.kl = std::move(divergence_);
  }

 private:
  int total() const { return static_cast<int>(std::ssize(request_.prompts)) * request_.draws; }

  void add_squares(const Prompt& prompt, const Rows& plain, const Rows& moved,
                   std::vector<double>& squares) const {
    squares.resize(plain.values.size());
    for (size_t i = 0; i < squares.size(); ++i) {
      const double value = plain.values[i], change = moved.values[i] - value;
      if (value == -INFINITY && moved.values[i] == plain.values[i]) continue;  // a masked score
      if (!std::isfinite(change))
        fail_input("{} of {} is {} as it is, and {} with roundings: there is no bound of what is not finite",
                   request_.logprobs ? "logprobs" : name(request_.stage), prompt.id, value, moved.values[i]);
      squares[i] += change * change;
    }
  }

  static void add_divergence(const Rows& plain, const Rows& moved, std::vector<double>& divergence) {
    for (size_t i = 0; i < divergence.size(); ++i)
      divergence[i] += compare_logits(plain.row(i), moved.row(i)).kl;
  }

  PositionBound at(const Prompt& prompt, const Rows& rows, size_t r) const {
    const int64_t position = rows.begins[r].first;
    return {.prompt = prompt.id, .position = position, .is_last = position + 1 == std::ssize(prompt.tokens)};
  }

  void conclude(const Prompt& prompt, int layer, const Rows& rows, size_t r,
                const std::vector<double>& squares) {
    PlaceBound& place = places_[layer];
    PositionBound bound = at(prompt, rows, r);
    const std::span<const float> row = rows.row(r);
    double most = 0, sum = 0;
    for (size_t j = 0; j < row.size(); ++j) {
      const double mean = squares[rows.begins[r].second + j] / request_.draws;
      if (std::isfinite(row[j]))
        place.largest = std::max(place.largest, std::abs(static_cast<double>(row[j])));
      sum += mean;
      if (mean <= most) continue;
      most = mean;
      bound.element = static_cast<int64_t>(j);
    }
    bound.bound = of_two_runs(std::sqrt(most));
    bound.typical = typical_of(std::sqrt(sum / static_cast<double>(std::max<size_t>(1, row.size()))));
    place.positions.push_back(std::move(bound));
  }

  void conclude_logprobs(const Prompt& prompt, const Rows& rows, size_t r, const std::vector<double>& squares,
                         double divergence) {
    const std::span<const float> row = rows.row(r);
    PositionBound top = at(prompt, rows, r), kl = top;
    top.element = std::max_element(row.begin(), row.end()) - row.begin();
    const double rms =
        std::sqrt(squares[rows.begins[r].second + static_cast<size_t>(top.element)] / request_.draws);
    top.bound = of_two_runs(rms), top.typical = typical_of(rms);
    kl.bound = divergence_bound(divergence), kl.typical = typical_divergence(divergence);
    top_.largest =
        std::max(top_.largest, std::abs(static_cast<double>(row[static_cast<size_t>(top.element)])));
    top_.positions.push_back(std::move(top));
    divergence_.positions.push_back(std::move(kl));
  }

  Engine& engine_;
  const BoundRequest& request_;
  std::map<int, PlaceBound> places_;
  PlaceBound top_, divergence_{.is_divergence = true};
};

/// Of one recorded stage by the precision's own arithmetic: the largest of its elements' bounds; none where
/// its inputs were not recorded.
std::optional<double> own_bound(const PhaseRecord& phase, At at, const Precision& precision) {
  std::string why;
  const std::optional<Subject> subject = judged_subject(phase, at, &why);
  if (!subject || !subject->gap.empty()) return std::nullopt;
  StageProblem problem = *subject->problem;
  const bool projection = problem.kind == StageKind::projection;
  const bool copy = problem.kind == StageKind::embedding;  // rounded once, for every run alike
  problem.declared.roundings = {.activation = projection ? precision.input : Format::f32,
                                .output = copy ? Format::f32 : precision.result};
  double most = 0;
  const Expected expected = expected_of(problem);
  for (size_t i = 0; i < expected.value.size(); ++i) {
    if (expected.tells(i)) most = std::max(most, expected.bound[i]);
  }
  return most;
}

/// By layer: what two kernels can make of equal inputs.
std::map<int, double> own_bounds(Engine& engine, const BoundRequest& request) {
  MatrixRequest matrix{.experiments = parse_experiments("E0"),
                       .prompts = request.prompts,
                       .layers = request.layers,
                       .routes = plain_routes()};
  if (is_outside_layers(request.stage))
    matrix.layers = {static_cast<int>(engine.model().config.n_layer) - 1};  // its input
  const Bundle bundle = record_matrix(engine, matrix);
  std::vector<std::unique_ptr<PhaseRecord>> phases;
  std::vector<std::pair<const PhaseRecord*, At>> jobs;
  for (PhaseView& view : PhaseView::all_of(bundle)) {
    const bool prefill = view.seen() == Seen::prefill || view.seen() == Seen::prefill_last;
    if (!prefill) continue;
    const std::vector<TokenId> tokens = prompt_tokens(bundle, view.cell().prompt);
    phases.push_back(std::make_unique<PhaseRecord>(PhaseRecord{&engine.model(), std::move(view), tokens}));
    for (const auto& [at, event] : phases.back()->view.events()) {
      if (at.stage == request.stage) jobs.emplace_back(phases.back().get(), at);
    }
  }
  std::vector<std::optional<double>> most(jobs.size());
  parallel_for(engine.options().threads, jobs.size(),
               [&](size_t i) { most[i] = own_bound(*jobs[i].first, jobs[i].second, request.precision); });
  std::map<int, double> by_layer;
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (!most[i]) continue;
    double& own = by_layer[jobs[i].second.layer];
    own = std::max(own, 2 * *most[i]);  // both runs round
  }
  return by_layer;
}

}  // namespace

RoundingBound measure_bound(Engine& engine, const BoundRequest& request) {
  const Stopwatch clock;
  Measurement measurement(engine, request);
  for (size_t i = 0; i < request.prompts.size(); ++i)
    measurement.add(request.prompts[i], static_cast<int>(i));
  RoundingBound result;
  measurement.finish(result);
  if (!request.logprobs) {
    for (const auto& [layer, own] : own_bounds(engine, request)) {
      for (PlaceBound& place : result.places) {
        if (place.layer == layer) place.own = own;
      }
    }
  }
  result.model_name = engine.model().config.name;
  result.of = request.logprobs ? "logprobs" : std::string(name(request.stage));
  result.precision = request.precision.name;
  result.input = request.precision.input;
  result.result = request.precision.result;
  result.draws = request.draws;
  result.seed = request.seed;
  for (const Prompt& prompt : request.prompts)
    result.prompts.emplace_back(prompt.id, std::ssize(prompt.tokens));
  result.seconds = clock.seconds();
  return result;
}

}  // namespace greta
