#include "record/matrix.h"

#include <algorithm>

#include "base/error.h"
#include "engine/sampler.h"

namespace greta {
namespace {

void check(const Prompt& prompt, const ModelConfig& config, bool aligned) {
  const int64_t n = std::ssize(prompt.tokens);
  if (n == 0) fail_input("prompt {} has no tokens", prompt.id);
  const int64_t needed = n + (aligned ? 0 : 1);
  if (needed > config.n_ctx) {
    fail_input("prompt {} needs {} positions; the context of {} is {}", prompt.id, needed, config.name,
               config.n_ctx);
  }
}

}  // namespace

Matrix::Matrix(Engine& engine, const MatrixRequest& request)
    : engine_(engine),
      request_(request),
      prefill_recorder_(
          [this](Event event, std::span<const float> values) { to_all_cells(std::move(event), values); }),
      rows_recorder_(
          [this](Event event, std::span<const float> values) { to_all_cells(std::move(event), values); }),
      decode_recorder_([this](Event event, std::span<const float> values) {
        observer_->event(std::move(event), values);
      }) {
  for (const Prompt& prompt : request.prompts) {
    check(prompt, engine.model().config, request.aligned);
    const int64_t block = block_of(prompt);
    if (prefill_plans_.contains(block)) continue;
    PrefillPlans plans{plan(Phase::prefill, block, false, request.routes),
                       plan(Phase::prefill, block, true, request.routes)};
    record(plans.last, prefill_recorder_);
    record(plans.last, rows_recorder_, true);
    overwrite(plans.inner);
    overwrite(plans.last);
    prefill_plans_.emplace(block, std::move(plans));
  }
  for (const Experiment& experiment : request.experiments) {
    decode_plans_.push_back(plan(Phase::decode, 1, true, experiment.routes(request.routes)));
    record(decode_plans_.back(), decode_recorder_);
    overwrite(decode_plans_.back());
  }
}

void Matrix::run(const MatrixObserver& observer) {
  observer_ = &observer;
  const int total = static_cast<int>(request_.prompts.size() * (request_.experiments.size() + 1));
  int done = 0;
  for (const Prompt& prompt : request_.prompts) {
    observer.step(done++, total, "prefill " + prompt.id);
    Session session(engine_, std::ssize(prompt.tokens) + (request_.aligned ? 0 : 1));
    const TokenId next = prefill(session, prompt);
    for (size_t i = 0; i < request_.experiments.size(); ++i) {
      observer.step(done++, total, request_.experiments[i].name + "/" + prompt.id);
      decode(session, prompt, i, next);
    }
  }
  observer.step(total, total, "done");
}

/// Runs and records the prompt; returns the greedy next token.
TokenId Matrix::prefill(Session& session, const Prompt& prompt) {
  const PrefillPlans& plans = prefill_plans_.at(block_of(prompt));
  prefill_recorder_.begin("", prompt.id, kPrefillLast);
  rows_recorder_.begin("", prompt.id, kPrefill);
  const std::span<const float> logits = session.prefill(plans.inner, plans.last, prompt.tokens);
  observer_->end_run();
  return argmax(logits);
}

void Matrix::decode(Session& session, const Prompt& prompt, size_t experiment, TokenId next) {
  const int64_t n = std::ssize(prompt.tokens);
  session.cache().truncate(request_.aligned ? n - 1 : n);
  decode_recorder_.begin(request_.experiments[experiment].name, prompt.id, kDecode0);
  const TokenId token = request_.aligned ? prompt.tokens.back() : next;
  session.forward(decode_plans_[experiment], std::span(&token, 1));
  observer_->end_run();
}

/// A prompt of one token runs the S = 1 plan in prefill too, as it does outside this tool.
int64_t Matrix::block_of(const Prompt& prompt) const {
  return std::min(std::ssize(prompt.tokens), static_cast<std::ptrdiff_t>(request_.prefill_block));
}

Plan Matrix::plan(Phase phase, int64_t rows, bool logits, const RouteTable& wanted) const {
  return changed_plan(engine_, phase, rows, wanted, request_.change, logits);
}

void Matrix::overwrite(Plan& plan) const {
  if (request_.overwrite) request_.overwrite(plan);
}

void Matrix::record(Plan& plan, Recorder& recorder, bool rows) const {
  RecordScope scope;
  scope.layers = [layers = request_.layers](int layer) {
    return layer == kNoLayer || std::find(layers.begin(), layers.end(), layer) != layers.end();
  };
  if (rows) {
    scope.stages = [](Stage stage) { return stage < Stage::x_out; };
    scope.rows = judged_rows;
  }
  insert_records(plan, engine_.options().isa, recorder, scope);
}

/// Prefill is shared: the experiments force decode only.
void Matrix::to_all_cells(Event event, std::span<const float> values) const {
  for (const Experiment& experiment : request_.experiments) {
    event.experiment = experiment.name;
    event.cell = experiment.name + "/" + event.prompt_id;
    observer_->event(event, values);
  }
}

std::vector<int64_t> judged_rows(Stage stage, int64_t n) {
  constexpr int64_t kAll = 64;
  std::vector<int64_t> rows;
  if (stage > Stage::ffn_norm) {
    for (int64_t row = 0; row < std::min<int64_t>(3, n); ++row) rows.push_back(row);
    return rows;
  }
  for (int64_t row = 0; row < n; ++row) {
    // Tiles and pages begin and end at multiples of 16; those of 32 and 96 are the ones that real bugs had.
    const int64_t edge = row % 32;
    const bool near_edge =
        row < 130 ? edge == 0 || edge == 1 || edge == 31 : row % 128 <= 1 || row % 128 == 127;
    if (n <= kAll || near_edge || row < 3 || row == 15 || row == 16 || row == 17 || row + 2 >= n)
      rows.push_back(row);
  }
  return rows;
}

}  // namespace greta
