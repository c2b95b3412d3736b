#include "isolate/matrix.h"

#include <algorithm>

#include "engine/sampler.h"

namespace greta::isolate {
namespace {

class Matrix {
 public:
  Matrix(Engine& engine, const MatrixRequest& request, const MatrixObserver& observer)
      : engine_(engine), request_(request), observer_(observer), decode_recorder_(observer.event) {
    for (const Experiment& experiment : request.experiments) {
      decode_plans_.push_back(plan(Phase::decode, 1, true, experiment.routes(request.routes)));
      record(decode_plans_.back(), decode_recorder_);
    }
  }

  void run() {
    const int total = static_cast<int>(request_.prompts.size() * (request_.experiments.size() + 1));
    int done = 0;
    for (const MatrixPrompt& prompt : request_.prompts) {
      observer_.step(done++, total, "prefill " + prompt.id);
      Session session(engine_, static_cast<int64_t>(prompt.tokens.size()) + (request_.aligned ? 0 : 1));
      const TokenId next = prefill(session, prompt);
      for (size_t i = 0; i < request_.experiments.size(); ++i) {
        observer_.step(done++, total, request_.experiments[i].name + "/" + prompt.id);
        decode(session, prompt, i, next);
      }
    }
    observer_.step(total, total, "done");
  }

 private:
  /// Runs and records the prompt; returns the greedy next token.
  TokenId prefill(Session& session, const MatrixPrompt& prompt) {
    const int64_t n = static_cast<int64_t>(prompt.tokens.size());
    // All but the last block fill the cache; a last block of one token is an S = 1 plan, as it is for
    // one-token prompts.
    const int64_t block = std::min(n, request_.prefill_block);
    trace::Recorder recorder([&](trace::Event event, std::span<const float> values) {
      for (const Experiment& experiment : request_.experiments) {
        event.experiment = experiment.name;
        event.cell = experiment.name + "/" + prompt.id;
        observer_.event(event, values);
      }
    });
    Plan last = plan(Phase::prefill, block, true, request_.routes);
    Plan inner = n > block ? plan(Phase::prefill, block, false, request_.routes) : Plan{};
    record(last, recorder);
    recorder.begin("", prompt.id, trace::kPrefillLast);
    const std::span<const float> logits = session.prefill(inner, last, prompt.tokens);
    recorder.end();
    observer_.end_run();
    return argmax(logits);
  }

  void decode(Session& session, const MatrixPrompt& prompt, size_t experiment, TokenId next) {
    const int64_t n = static_cast<int64_t>(prompt.tokens.size());
    session.cache().truncate(request_.aligned ? n - 1 : n);
    decode_recorder_.begin(request_.experiments[experiment].name, prompt.id, trace::kDecode0);
    const TokenId token = request_.aligned ? prompt.tokens.back() : next;
    session.forward(decode_plans_[experiment], std::span(&token, 1));
    decode_recorder_.end();
    observer_.end_run();
  }

  Plan plan(Phase phase, int64_t rows, bool logits, const RouteTable& wanted) const {
    Plan result = engine_.plan(phase, rows, effective_routes(wanted, request_.faults, phase), logits);
    apply_faults(result, engine_, request_.faults);
    return result;
  }

  void record(Plan& plan, trace::Recorder& recorder) const {
    const std::vector<int>& layers = request_.layers;
    trace::insert_records(plan, engine_.options().isa, recorder, [&](int layer) {
      return layer == kNoLayer || std::find(layers.begin(), layers.end(), layer) != layers.end();
    });
  }

  Engine& engine_;
  const MatrixRequest& request_;
  const MatrixObserver& observer_;
  trace::Recorder decode_recorder_;
  std::vector<Plan> decode_plans_;  // by experiment
};

}  // namespace

void run_matrix(Engine& engine, const MatrixRequest& request, const MatrixObserver& observer) {
  Matrix(engine, request, observer).run();
}

}  // namespace greta::isolate
