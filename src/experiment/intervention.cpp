#include "experiment/intervention.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "engine/kv_cache.h"
#include "engine/transform.h"
#include "judge/stage_problem.h"

namespace greta {
namespace {

constexpr int kSumLanes = 16;  // of our kernels' row sums

class OracleAction final : public Action {
 public:
  OracleAction(const Engine& engine, Stage stage, int layer, const KernelInfo& kernel)
      : right_(model_problem(engine.model(), stage, layer)) {
    right_.declared = {kernel.roundings, kSumLanes, 0};
    right_.cache_format = Format::f32;  // write_cache_row() rounds
  }

  std::string label() const override { return "the oracle's " + std::string(name(right_.stage)); }

  void run(const KernelArgs& args, Part part) override {
    const bool cache = right_.stage == Stage::kv_write;
    const View& out = cache ? args.in[0] : args.out;
    const int64_t heads = is_scores() ? right_.model->config.n_head : 1;
    const int64_t rows = out.rows / heads, per_part = (rows + part.count - 1) / part.count;
    const int64_t begin = std::min(rows, per_part * part.index), end = std::min(rows, begin + per_part);
    if (begin == end) return;
    StageProblem problem = right_;
    const int64_t first =
        args.position + args.block_rows - rows;  // of a view that may hold the last row only
    for (int64_t row = begin; row < end; ++row) problem.positions.push_back(first + row);
    fill_operands(problem, args, begin, end);
    const Expected expected = expected_of(problem);
    const size_t width = expected.value.size() / static_cast<size_t>(end - begin);
    std::vector<float> values(expected.value.begin(), expected.value.end());
    for (int64_t row = begin; row < end; ++row) {
      const std::span<const float> slice(values.data() + static_cast<size_t>(row - begin) * width, width);
      if (cache) {
        write_cache_row(args.cache, first + row, slice);
      } else {
        store(args.out, row * heads, heads, slice);
      }
    }
  }

 private:
  bool is_scores() const { return right_.stage == Stage::qk || right_.stage == Stage::softmax; }

  static void store(const View& out, int64_t row, int64_t count, std::span<const float> values) {
    const size_t cols = values.size() / static_cast<size_t>(count);
    for (int64_t i = 0; i < count; ++i)
      std::memcpy(out.row(row + i), values.data() + static_cast<size_t>(i) * cols, cols * sizeof(float));
  }

  void fill_operands(StageProblem& problem, const KernelArgs& args, int64_t begin, int64_t end) const {
    if (problem.stage == Stage::x_in) {
      for (int64_t row = begin; row < end; ++row) {
        TokenId id = 0;
        std::memcpy(&id, args.in[0].raw_row(row), sizeof id);
        problem.tokens.push_back(id);
      }
      return;
    }
    size_t at = 0;
    for (const Stage operand : operands_of(problem.model->config, problem.stage, problem.layer)) {
      if (operand == Stage::kv_write) {
        problem.operands.push_back({read_cache(args.cache, args.position + args.block_rows), nullptr});
        continue;
      }
      const View& in = args.in[at++];
      const bool scores = operand == Stage::qk || operand == Stage::softmax;
      const int64_t heads = scores ? problem.model->config.n_head : 1;
      std::vector<float> rows;
      for (int64_t row = begin * heads; row < end * heads; ++row)
        rows.insert(rows.end(), in.row(row), in.row(row) + in.cols);
      problem.operands.push_back({std::move(rows), nullptr});
    }
  }

  StageProblem right_;
};

/// The cache before an op that writes to it, and its earlier rows put back after it: a faulty one may have
/// touched rows that are not its own.
class KeepHistory final : public Action {
 public:
  explicit KeepHistory(std::shared_ptr<std::optional<CacheCopy>> kept, bool put_back)
      : kept_(std::move(kept)), put_back_(put_back) {}

  std::string label() const override {
    return put_back_ ? "put the cache's history back" : "keep the cache's history";
  }

  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    if (!put_back_) {
      kept_->emplace(args.cache);
      return;
    }
    for (int64_t p = 0; p < args.position; ++p) copy_cache_row((*kept_)->view(), args.cache, p);
  }

 private:
  std::shared_ptr<std::optional<CacheCopy>> kept_;
  bool put_back_;
};

void keep_history(Plan& plan, int at) {
  const auto kept = std::make_shared<std::optional<CacheCopy>>();
  for (const bool put_back : {true, false}) {
    Op op;
    op.kind = OpKind::kv_write;
    op.layer = plan.ops[static_cast<size_t>(at)].layer;
    op.action = std::make_shared<KeepHistory>(kept, put_back);
    op.uses_cache = true;
    put_back ? insert_after(plan, static_cast<size_t>(at), std::move(op))
             : insert_before(plan, static_cast<size_t>(at), std::move(op));
  }
}

/// The buffer that holds a stage while its layer runs.
BufferId buffer_of(const Plan& plan, Stage stage, int layer) {
  if (stage == Stage::x_in) return plan.ops[static_cast<size_t>(plan.find(Stage::x_attn, layer))].in[0];
  return plan.ops[static_cast<size_t>(plan.find(stage, layer))].out;
}

void insert_one(Plan& plan, const Engine& engine, Stage stage, int layer) {
  const int at = plan.find(stage, layer);
  if (at < 0) return;
  const Op& target = plan.ops[static_cast<size_t>(at)];
  Op op;
  op.kind = target.kind;
  op.layer = layer;
  op.action = std::make_shared<OracleAction>(engine, stage, layer, *target.kernel);
  op.out = target.out;
  op.uses_cache = target.uses_cache;
  op.params = target.params;
  size_t input = 0;
  if (stage == Stage::x_in) {
    op.in[0] = target.in[0];
  } else {
    const int last = static_cast<int>(engine.model().config.n_layer) - 1;
    for (const Stage operand : operands_of(engine.model().config, stage, layer)) {
      if (operand == Stage::kv_write) continue;
      const bool before = is_outside_layers(stage) && !is_outside_layers(operand);
      op.in[input++] = buffer_of(plan, operand, before ? last : layer);
    }
  }
  insert_after(plan, static_cast<size_t>(at), std::move(op));
  if (stage == Stage::kv_write) keep_history(plan, at);
}

}  // namespace

void insert_interventions(Plan& plan, const Engine& engine, std::span<const InterventionSite> sites) {
  // Of a fused attention there is no input to compute from, nor a place in its middle. Plans without records
  // have it: those of a long prompt's inner blocks.
  unfuse_attention(plan, engine.options().isa, [&](int layer) {
    return std::any_of(sites.begin(), sites.end(), [&](const InterventionSite& site) {
      const bool inside = site.stage == Stage::qk || site.stage == Stage::softmax || site.stage == Stage::pv;
      return inside && site.layer == layer;
    });
  });
  for (const InterventionSite& site : sites) {
    if (concerns(site.phase, plan.phase)) insert_one(plan, engine, site.stage, site.layer);
  }
}

}  // namespace greta
