#include "record/matrix.h"

#include <algorithm>
#include <map>

#include "base/error.h"
#include "bundle/join.h"
#include "engine/sampler.h"
#include "engine/session.h"
#include "record/recorder.h"

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

void clear_unused(KvCache& cache, Decode0Row with) {
  if (with == Decode0Row::other_row) {
    cache.fill_unused_like(0);
  } else {
    cache.fill_unused(0);
  }
}

class Matrix {
 public:
  /// Makes all plans. What the record ops see goes to `recording`.
  Matrix(Engine& engine, const MatrixRequest& request, Recording& recording)
      : engine_(engine),
        request_(request),
        recording_(recording),
        sink_([&recording](Event event, std::vector<float> values) {
          recording.write(std::move(event), std::move(values));
        }) {
    const PlanChange change{request.change.routes, [this](PlanEdit& edit) { this->edit(edit); }};
    for (const Prompt& prompt : request.prompts) {
      check(prompt, engine.model().config, request.aligned);
      const int64_t block = block_of(prompt);
      if (prefill_.contains(block)) continue;
      prefill_.emplace(
          block, make_session_plans(engine, {.block = block, .routes = request.routes, .change = change}));
    }
    for (const Experiment& experiment : request.experiments)
      steps_.push_back(changed_plan(engine, Phase::decode, 1, experiment.routes(request.routes), change));
  }
  Matrix(const Matrix&) = delete;  // the plans' record ops point into it
  Matrix& operator=(const Matrix&) = delete;

  void run(const std::function<void(int done, int total, const std::string& label)>& progress) {
    const int total = static_cast<int>(request_.prompts.size() * (request_.experiments.size() + 1));
    int done = 0;
    const auto step = [&](const std::string& label) {
      if (progress) progress(done++, total, label);
    };
    std::vector<std::string> all;
    for (const Experiment& experiment : request_.experiments) all.push_back(experiment.name);
    for (size_t p = 0; p < request_.prompts.size(); ++p) {
      const Prompt& prompt = request_.prompts[p];
      step("prefill " + prompt.id);
      SessionPlans plans = prefill_.at(block_of(prompt));
      plans.steps = steps_;
      const int64_t n = std::ssize(prompt.tokens);
      // One slot more than decode0 needs, where the context has it: a row may be written there.
      const int64_t positions = std::min(n + (request_.aligned ? 1 : 2), engine_.model().config.n_ctx);
      Session session(engine_, positions, std::move(plans));
      // What is not written is 0, as in a fresh allocation of most engines.
      session.cache().fill_unused(0);
      recording_.begin_run(prompt.id, all);
      const TokenId next = argmax(session.prefill(prompt.tokens));
      recording_.end_run();
      for (size_t i = 0; i < all.size(); ++i) {
        step(all[i] + "/" + prompt.id);
        session.cache().truncate(request_.aligned ? n - 1 : n);
        clear_unused(session.cache(), decode0_row(request_, p));
        recording_.begin_run(prompt.id, std::span(&all[i], 1));
        session.step(request_.aligned ? prompt.tokens.back() : next, i);
        recording_.end_run();
      }
    }
    step("done");
  }

 private:
  int64_t block_of(const Prompt& prompt) const {
    return greta::block_of(std::ssize(prompt.tokens), request_.prefill_block);
  }

  /// Of every plan. Of the inner blocks of a prefill the last one's cache tells.
  void edit(PlanEdit& edit) {
    if (request_.change.edit) request_.change.edit(edit);
    if (edit.phase() == Phase::decode) {
      record(edit, decode_, Rows::last, true);
    } else if (edit.logits() != kNoBuffer) {
      record(edit, last_);
      record(edit, rows_, Rows::of_prompt);
    } else {
      record(edit, rows_, Rows::of_inner_block);
    }
  }

  enum class Rows { last, of_prompt, of_inner_block };

  void record(PlanEdit& edit, Recorder& recorder, Rows rows = Rows::last, bool next_slot = false) const {
    RecordScope scope;
    scope.operands = true;
    scope.next_slot = next_slot;
    scope.layers = [layers = request_.layers](int layer) {
      return layer == kNoLayer || std::find(layers.begin(), layers.end(), layer) != layers.end();
    };
    const auto asked = [this](Stage stage) {
      return request_.stages.empty() || request_.stages.contains(stage);
    };
    scope.stages = asked;
    if (rows != Rows::last) {
      // A layer's x_out is the next one's x_in; after the layers there is the last row only.
      scope.stages = [asked, rows](Stage stage) {
        const bool told_later = rows == Rows::of_inner_block && info(stage).kind == StageKind::cache;
        return asked(stage) && stage != Stage::x_out && !is_outside_layers(stage) && !told_later;
      };
      scope.rows = [drawn = request_.drawn](Stage stage, int64_t n_pos) {
        return judged_rows(stage, n_pos, drawn);
      };
    }
    insert_records(edit, recorder, scope);
  }

  Engine& engine_;
  const MatrixRequest& request_;
  Recording& recording_;
  const Recorder::Sink sink_;
  Recorder last_{sink_, kPrefillLast}, rows_{sink_, kPrefill}, decode_{sink_, kDecode0};
  std::map<int64_t, SessionPlans> prefill_;  // by block size
  std::vector<Plan> steps_;                  // by experiment
};

/// The blocks of a prefill as one event each. Where an engine loses count of its positions they are none:
/// then the last block's stay.
Bundle rows_joined(Bundle bundle) {
  try {
    return joined(bundle);
  } catch (const Error&) {
    return bundle;
  }
}

}  // namespace

Bundle record_matrix(Engine& engine, const MatrixRequest& request, const RecordOptions& options) {
  Recording recording(options.keep, request.layers.empty() ? kNoLayer : request.layers.front());
  Matrix matrix(engine, request, recording);
  recording.open(make_manifest(engine, request, options.origin), options.directory, options.force);
  matrix.run(options.progress);
  const bool in_blocks = std::any_of(request.prompts.begin(), request.prompts.end(), [&](const Prompt& p) {
    return std::ssize(p.tokens) > request.prefill_block;
  });
  return in_blocks ? rows_joined(recording.complete()) : recording.complete();
}

}  // namespace greta
