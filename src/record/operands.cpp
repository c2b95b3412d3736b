#include "record/operands.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/half.h"
#include "base/hash.h"
#include "engine/kv_cache.h"
#include "kernels/block_code.h"
#include "numerics/activation.h"
#include "record/recorder.h"

namespace greta {
namespace {

void append_row(const View& view, int64_t row, std::vector<float>& values) {
  if (view.format == Format::bf16 || view.format == Format::f16) {
    const uint16_t* x = view.row<uint16_t>(row);
    for (int64_t i = 0; i < view.cols; ++i)
      values.push_back(view.format == Format::f16 ? f16_to_f32(x[i]) : bf16_to_f32(x[i]));
  } else if (view.format == Format::q8_block32) {
    const ActivationBlock* blocks = view.row<ActivationBlock>(row);
    for (int64_t i = 0; i < view.cols; ++i) {
      const ActivationBlock& block = blocks[i / kBlock];
      values.push_back(static_cast<float>(block.q[i % kBlock]) * block.d);
    }
  } else {
    values.insert(values.end(), view.row(row), view.row(row) + view.cols);
  }
}

class OperandAction final : public Action {
 public:
  OperandAction(Recorder& recorder, At of, std::vector<OperandPlace> operands, const RecordScope& scope,
                OperandsSeen seen)
      : recorder_(recorder),
        of_(of),
        operands_(std::move(operands)),
        rows_(scope.rows),
        seen_(std::move(seen)) {}

  std::string label() const override { return "record operands"; }

  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    seen_->clear();
    for (const OperandPlace& operand : operands_) look(args, operand);
  }

 private:
  void look(const KernelArgs& args, const OperandPlace& operand) {
    const StageInfo& stage = info(operand.at.stage);
    const int64_t n_pos = args.position + args.block_rows;
    if (stage.kind == StageKind::cache) {
      std::vector<int64_t> all(static_cast<size_t>(n_pos));
      std::iota(all.begin(), all.end(), 0);
      return saw(operand.at, Format::f32, all, read_cache(args.cache, n_pos));
    }
    const View& view = args.in[operand.input];
    const int64_t heads = stage.row_per == RowPer::token_head ? args.params.n_head : 1;
    const std::vector<int64_t> positions = held_positions(rows_(operand.at.stage, n_pos), view, n_pos, heads);
    const bool in_two_events = positions.size() == 2 && positions[1] - positions[0] > 1;
    if (!positions.empty() && !in_two_events)
      saw(operand.at, view.format, positions, rows_at(view, positions, n_pos, heads));
  }

  /// Rows that are not what the stage left go to the recorder.
  void saw(At at, Format format, const std::vector<int64_t>& positions, std::vector<float> rows) {
    const Recorder::Made* made = recorder_.made(at);
    const size_t width = rows.size() / positions.size();
    const bool same = made != nullptr && is_rounding(made->values, width, format, rows);
    const std::string dtype(name(format));
    seen_->push_back({std::string(name(at.stage)), same ? made->hash : hash_floats(rows).hex(), dtype});
    if (same) return;
    Event event;
    event.layer = at.layer;
    event.name = fmt::format("{} as {} read it", name(at.stage), name(of_.stage));
    event.positions = packed_positions(positions);
    event.shape = {std::ssize(positions), static_cast<int64_t>(width)};
    event.dtype = dtype;
    recorder_.write(std::move(event), std::move(rows));
  }

  Recorder& recorder_;
  At of_;
  std::vector<OperandPlace> operands_;
  std::function<std::vector<int64_t>(Stage, int64_t)> rows_;
  OperandsSeen seen_;
};

}  // namespace

std::vector<float> rows_at(const View& view, const std::vector<int64_t>& positions, int64_t n_pos,
                           int64_t per_position) {
  const int64_t first = n_pos - view.rows / per_position;
  std::vector<float> values;
  values.reserve(positions.size() * static_cast<size_t>(per_position * view.cols));
  for (const int64_t position : positions) {
    for (int64_t r = (position - first) * per_position; r < (position - first + 1) * per_position; ++r)
      append_row(view, r, values);
  }
  return values;
}

std::vector<int64_t> held_positions(std::vector<int64_t> positions, const View& view, int64_t n_pos,
                                    int64_t per_position) {
  const int64_t first = n_pos - view.rows / per_position;
  std::erase_if(positions, [&](int64_t p) { return p < first || p >= n_pos; });
  return positions;
}

OperandsSeen watch_operands(PlanEdit& edit, const Op& op, const std::vector<OperandPlace>& operands,
                            Recorder& recorder, const RecordScope& scope) {
  auto seen = std::make_shared<std::vector<SeenOperand>>();
  if (operands.empty()) return seen;
  Op look = onlooker(op, std::make_shared<OperandAction>(recorder, *op.made(), operands, scope, seen));
  look.reads = op.reads;
  look.cache = op.cache == CacheUse::reads ? CacheUse::reads : CacheUse::none;
  edit.before(op, std::move(look));
  return seen;
}

}  // namespace greta
