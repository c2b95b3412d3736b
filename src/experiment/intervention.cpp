#include "experiment/intervention.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "engine/kv_cache.h"
#include "judge/stage_problem.h"

namespace greta {
namespace {

class OracleAction final : public Action {
 public:
  OracleAction(const Engine& engine, Stage stage, int layer, const KernelInfo& kernel)
      : right_(model_problem(engine.model(), {layer, stage})) {
    right_.declared = {kernel.roundings, kSumLanes, 0};
    right_.cache_format = Format::f32;  // write_cache_row() rounds
  }

  std::string label() const override { return "the oracle's " + std::string(name(right_.at.stage)); }

  void run(const KernelArgs& args, Part part) override {
    const bool cache = right_.kind == StageKind::cache;
    const View& out = cache ? args.in[0] : args.out;
    const int64_t heads = rows_per_token(right_.at.stage, right_.model->config);
    const int64_t rows = out.rows / heads;
    const Share share = share_of(part, rows, out.cols);
    if (share.rows.begin == share.rows.end || share.outputs.begin == share.outputs.end) return;
    StageProblem problem = right_;
    const Tensor some = share.split ? some_outputs(share.outputs) : Tensor{};
    if (share.split) problem.weight = &some;
    // Of a view that may hold the last row only.
    const int64_t first = args.position + args.block_rows - rows;
    for (int64_t row = share.rows.begin; row < share.rows.end; ++row)
      problem.positions.push_back(first + row);
    fill_operands(problem, args, share.rows.begin, share.rows.end);
    const Expected expected = expected_of(problem);
    const size_t width = expected.value.size() / static_cast<size_t>(share.rows.end - share.rows.begin);
    std::vector<float> values(expected.value.begin(), expected.value.end());
    for (int64_t row = share.rows.begin; row < share.rows.end; ++row) {
      const std::span<const float> slice(values.data() + static_cast<size_t>(row - share.rows.begin) * width,
                                         width);
      if (cache) {
        write_cache_row(args.cache, first + row, slice);
      } else {
        store(args.out, row * heads, heads, share.outputs.begin, slice);
      }
    }
  }

 private:
  /// What a thread makes: rows; where there are fewer than threads, of a projection some of the outputs.
  struct Share {
    Part::Range rows, outputs;
    bool split = false;
  };
  Share share_of(Part part, int64_t rows, int64_t outputs) const {
    const bool split = rows < part.count && right_.kind == StageKind::projection && right_.bias == nullptr &&
                       right_.weight->order == RowOrder{};
    if (!split) return {part.of(rows), {0, outputs}};
    return {{0, rows}, part.of(outputs), true};
  }
  Tensor some_outputs(Part::Range outputs) const {
    return some_rows(*right_.weight, static_cast<uint64_t>(outputs.begin),
                     static_cast<uint64_t>(outputs.end - outputs.begin));
  }

  /// Values of `count` rows, from an output on.
  static void store(const View& out, int64_t row, int64_t count, int64_t output,
                    std::span<const float> values) {
    const size_t cols = values.size() / static_cast<size_t>(count);
    for (int64_t i = 0; i < count; ++i)
      std::memcpy(out.row(row + i) + output, values.data() + static_cast<size_t>(i) * cols,
                  cols * sizeof(float));
  }

  void fill_operands(StageProblem& problem, const KernelArgs& args, int64_t begin, int64_t end) const {
    if (problem.kind == StageKind::embedding) {
      for (int64_t row = begin; row < end; ++row) {
        TokenId id = 0;
        std::memcpy(&id, args.in[0].raw_row(row), sizeof id);
        problem.tokens.push_back(id);
      }
      return;
    }
    size_t at = 0;
    for (const At operand : operands_at(problem.model->config, problem.at)) {
      if (info(operand.stage).kind == StageKind::cache) {
        problem.operands.push_back({read_cache(args.cache, args.position + args.block_rows), nullptr});
        continue;
      }
      const View& in = args.in[at++];
      const int64_t heads = rows_per_token(operand.stage, problem.model->config);
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

void keep_history(PlanEdit& edit, const Op& write) {
  const auto kept = std::make_shared<std::optional<CacheCopy>>();
  const auto op = [&](bool put_back) {
    return Op{.layer = write.layer,
              .call = ActionCall{std::make_shared<KeepHistory>(kept, put_back)},
              .cache = put_back ? CacheUse::writes : CacheUse::reads};
  };
  edit.before(write, op(false));
  edit.after(write, op(true));
}

/// The buffer that holds a stage while its layer runs; kNoBuffer where no op of the plan makes it.
BufferId buffer_of(PlanEdit& edit, At at) {
  const bool input = at.stage == Stage::x_in;
  const Op* user = edit.find(input ? At{at.layer, Stage::x_attn} : at);
  if (user == nullptr) return kNoBuffer;
  return input ? user->reads[0] : user->writes;
}

/// What the oracle computes the stage from, but for the cache.
std::vector<BufferId> operand_buffers(PlanEdit& edit, const ModelConfig& config, const Op& target) {
  const At at = *target.made();
  if (info(at.stage).kind == StageKind::embedding) return {target.reads[0]};
  std::vector<BufferId> buffers;
  for (const At operand : operands_at(config, at)) {
    if (info(operand.stage).kind != StageKind::cache) buffers.push_back(buffer_of(edit, operand));
  }
  return buffers;
}

void intervene(PlanEdit& edit, const Engine& engine, At at) {
  // Of a fused op there is no input to compute from, nor a place in its middle.
  edit.unfuse([&](At made) { return made == at; });
  const Op* target = edit.find(at);
  if (target == nullptr) return;
  // A faulty plan may lack an op that the model asks for: then there is nothing to compute from.
  const std::vector<BufferId> operands = operand_buffers(edit, engine.model().config, *target);
  if (std::find(operands.begin(), operands.end(), kNoBuffer) != operands.end()) return;
  edit.after(*target, {.layer = at.layer,
                       .call = ActionCall{std::make_shared<OracleAction>(engine, at.stage, at.layer,
                                                                         *kernel_call(*target)->kernel)},
                       .reads = operands,
                       .writes = target->writes,
                       .cache = target->cache});
  if (info(at.stage).kind == StageKind::cache) keep_history(edit, *target);
}

}  // namespace

PlanChange interventions(const Engine& engine, std::vector<InterventionSite> sites) {
  return {.edit = [&engine, sites = std::move(sites)](PlanEdit& edit) {
    for (const InterventionSite& site : sites) {
      if (concerns(site.phase, edit.phase())) intervene(edit, engine, {site.layer, site.stage});
    }
  }};
}

}  // namespace greta
