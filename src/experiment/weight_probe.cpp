#include "experiment/weight_probe.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>

#include "base/error.h"
#include "engine/executor.h"
#include "engine/kv_cache.h"
#include "judge/stage_problem.h"
#include "numerics/dequant.h"

namespace greta {
namespace {

constexpr int64_t kProbes = 8;

// One product and no sum: a few roundings of f32 (2^-24 each) of the code's value and its minimum, which may
// be some ten times the weight that they cancel to; the one-hot 1 itself is 127 * (1 / 127) in int8. 1e-5 is
// 170 roundings. A wrong layout is off by about 1.
constexpr double kSame = 1e-5;

/// First, last, and a fixed sample of a matrix's columns.
std::vector<int64_t> columns_of(int64_t k) {
  std::set<int64_t> columns{0, k - 1};
  for (int64_t i = 1; i <= kProbes - 2; ++i) columns.insert(i * 2654435761 % k);
  return {columns.begin(), columns.end()};
}

/// The probed columns of one weight by both readings, each [columns][n].
struct Readings {
  std::vector<std::vector<double>> row, column;
};

/// Decodes the matrix row by row: it may be too large to be held in f64.
Readings read_columns(const Tensor& weight, const std::vector<int64_t>& columns) {
  const int64_t k = static_cast<int64_t>(weight.dims[0]), n = row_count(weight);
  const std::vector<double> empty(static_cast<size_t>(n));
  Readings readings{{columns.size(), empty}, {columns.size(), empty}};
  std::vector<double> values(static_cast<size_t>(k));
  for (int64_t i = 0; i < n; ++i) {
    decode_row(weight, i, values);
    for (size_t c = 0; c < columns.size(); ++c) {
      readings.row[c][static_cast<size_t>(i)] = values[static_cast<size_t>(columns[c])];
      // Column j of the column-major reading is places [j * n, (j + 1) * n) of the buffer.
      const int64_t start = columns[c] * n;
      const int64_t begin = std::max(start, i * k), end = std::min(start + n, (i + 1) * k);
      for (int64_t place = begin; place < end; ++place)
        readings.column[c][static_cast<size_t>(place - start)] = values[static_cast<size_t>(place - i * k)];
    }
  }
  return readings;
}

/// Writes one-hot rows: row r is e_(columns[first + r]).
class PutOneHot final : public Action {
 public:
  PutOneHot(const std::vector<int64_t>& columns, const size_t& first) : columns_(columns), first_(first) {}
  std::string label() const override { return "put one-hot rows"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    for (int64_t r = 0; r < args.out.rows; ++r) {
      std::fill_n(args.out.row(r), args.out.cols, 0.0f);
      args.out.row(r)[columns_[first_ + static_cast<size_t>(r)]] = 1;
    }
  }

 private:
  const std::vector<int64_t>& columns_;
  const size_t& first_;
};

/// Takes the output's rows and the name of the kernel that made them.
class TakeRows final : public Action {
 public:
  TakeRows(std::vector<std::vector<float>>& rows, std::string& kernel) : rows_(rows), kernel_(kernel) {}
  std::string label() const override { return "take rows"; }
  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    const View& view = args.in[0];
    for (int64_t r = 0; r < view.rows; ++r) rows_.emplace_back(view.row(r), view.row(r) + view.cols);
    if (args.launch->kernel != nullptr) kernel_ = args.launch->kernel;
  }

 private:
  std::vector<std::vector<float>>& rows_;
  std::string& kernel_;
};

/// A plan of four ops: one-hot rows, the quantisation of them if the projection needs it, the projection, and
/// what takes its output.
Plan cut_out(const Plan& plan, At at, std::shared_ptr<Action> put, std::shared_ptr<Action> take) {
  Plan cut = plan;
  cut.logits = kNoBuffer;
  PlanEdit edit(cut);
  Op* projection = edit.find(at);
  if (projection == nullptr) fail_machine("the plan has no {} of layer {}", name(at.stage), at.layer);
  const Op* quantize = nullptr;  // the last op before it that wrote its input, if that is a helper
  for (const Op& op : edit.ops()) {
    if (&op == projection) break;
    if (op.writes == projection->reads[0]) quantize = &op;
  }
  if (quantize != nullptr && !is_kind(*quantize, OpKind::quantize)) quantize = nullptr;
  edit.keep_only([&](const Op& op) { return &op == projection || &op == quantize; });
  kernel_call(*projection)->bias = nullptr;  // the weight alone
  const Op& first = quantize != nullptr ? *quantize : *projection;
  edit.before(first, {.call = ActionCall{std::move(put)}, .writes = first.reads[0]});
  edit.watch(*projection, std::move(take));
  edit.commit();
  return cut;
}

/// Worst relative error of the outputs against one reading.
double worst_error(const std::vector<std::vector<float>>& outputs,
                   const std::vector<std::vector<double>>& reading) {
  double worst = 0;
  for (size_t c = 0; c < reading.size(); ++c) {
    double largest = 0, error = 0;
    for (size_t i = 0; i < reading[c].size(); ++i) {
      if (!std::isfinite(outputs[c][i])) return std::numeric_limits<double>::infinity();
      largest = std::max(largest, std::abs(reading[c][i]));
      error = std::max(error, std::abs(outputs[c][i] - reading[c][i]));
    }
    worst = std::max(worst, largest > 0 ? error / largest : error);
  }
  return worst;
}

class Prober {
 public:
  Prober(Engine& engine, const WeightProbeRequest& request)
      : engine_(engine),
        plans_{plan(request, Phase::prefill, kProbes), plan(request, Phase::decode, 1)},
        executor_(engine.executor(engine.pool())),
        cache_(engine.cache(kProbes)) {}

  /// Both phases of one projection.
  std::vector<WeightProbe> probe(Stage stage, int layer) {
    const Tensor& weight = *weight_of(engine_.model(), {stage, layer});
    const std::vector<int64_t> columns = columns_of(static_cast<int64_t>(weight.dims[0]));
    const Readings readings = read_columns(weight, columns);
    std::vector<WeightProbe> probes;
    for (const Plan& plan : plans_) {
      WeightProbe probe{plan.phase, layer, stage, "neither", 0, 0, "", columns};
      const std::vector<std::vector<float>> outputs = run(plan, probe);
      probe.error_row = worst_error(outputs, readings.row);
      probe.error_column = worst_error(outputs, readings.column);
      if (probe.error_row <= kSame) {
        probe.layout = "row";
      } else if (probe.error_column <= kSame) {
        probe.layout = "column";
      }
      probes.push_back(std::move(probe));
    }
    return probes;
  }

 private:
  Plan plan(const WeightProbeRequest& request, Phase phase, int64_t rows) const {
    return changed_plan(engine_, phase, rows, request.routes, request.change, false);
  }

  /// The projection's output for e_j of each probed column j.
  std::vector<std::vector<float>> run(const Plan& plan, WeightProbe& probe) {
    std::vector<std::vector<float>> outputs;
    size_t first = 0;
    const Plan cut =
        cut_out(plan, {probe.layer, probe.stage}, std::make_shared<PutOneHot>(probe.columns, first),
                std::make_shared<TakeRows>(outputs, probe.kernel));
    const std::vector<int32_t> tokens(probe.columns.size(), 0);  // nobody reads them
    const size_t rows = std::min(tokens.size(), static_cast<size_t>(plan.max_rows));
    for (; first < tokens.size(); first += rows)
      executor_->run(cut, std::span(tokens).subspan(first, rows), 0, cache_);
    return outputs;
  }

  Engine& engine_;
  const std::array<Plan, 2> plans_;
  std::unique_ptr<Executor> executor_;
  KvCache cache_;
};

}  // namespace

std::vector<WeightProbe> probe_weights(Engine& engine, const WeightProbeRequest& request) {
  Prober prober(engine, request);
  std::vector<WeightProbe> probes;
  for (const int layer : request.layers) {
    for (const StageInfo& row : kStageTable) {
      if (row.kind != StageKind::projection || is_outside_layers(row.stage)) continue;
      if (weight_of(engine.model(), {row.stage, layer}) == nullptr) continue;  // experts are not probed
      for (WeightProbe& probe : prober.probe(row.stage, layer)) probes.push_back(std::move(probe));
    }
  }
  return probes;
}

}  // namespace greta
