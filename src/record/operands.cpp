#include "record/operands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
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

/// The block's codes and scale are what these 32 values are rounded to by the kernels' arithmetic. That is
/// quick; where it says no, is_rounding() may still find a tie.
bool is_rounded(const float* x, const ActivationBlock& block) {
  float most = 0;
  for (int64_t i = 0; i < kBlock; ++i) most = std::max(most, std::abs(x[i]));
  const float d = most / 127;
  if (d != block.d || d == 0) return false;
  constexpr float kToInteger = 12582912;  // 1.5 * 2^23: adding it rounds to nearest even
  for (int64_t i = 0; i < kBlock; ++i) {
    if ((x[i] / d + kToInteger) - kToInteger != static_cast<float>(block.q[i])) return false;
  }
  return true;
}

bool is_rounded(const float* x, const View& view, int64_t row) {
  const ActivationBlock* blocks = view.row<ActivationBlock>(row);
  for (int64_t b = 0; b < view.cols / kBlock; ++b) {
    if (!is_rounded(x + b * kBlock, blocks[b])) return false;
  }
  return view.cols % kBlock == 0;
}

/// Whether the view's rows at these positions are `made`, or what these are rounded to.
bool holds(const View& view, const std::vector<int64_t>& positions, int64_t n_pos, int64_t per_position,
           std::span<const float> made) {
  const int64_t first = n_pos - view.rows / per_position;
  if (std::ssize(made) != std::ssize(positions) * per_position * view.cols) return false;
  const float* x = made.data();
  std::vector<float> read;
  for (const int64_t position : positions) {
    for (int64_t r = (position - first) * per_position; r < (position - first + 1) * per_position; ++r) {
      const size_t width = static_cast<size_t>(view.cols);
      const bool quick = view.format == Format::f32          ? std::memcmp(x, view.row(r), width * 4) == 0
                         : view.format == Format::q8_block32 ? is_rounded(x, view, r)
                                                             : false;
      if (!quick) {
        if (view.format == Format::f32) return false;
        read.clear();
        append_row(view, r, read);
        if (!is_rounding(std::span(x, width), width, view.format, read)) return false;
      }
      x += width;
    }
  }
  return true;
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
    const Recorder::Made* made = recorder_.made(operand.at);
    if (stage.kind == StageKind::cache) {
      std::vector<float> rows = read_cache(args.cache, n_pos);
      if (made != nullptr && is_rounding(made->values, rows.size(), Format::f32, rows))
        return saw(operand.at, made->hash, Format::f32);
      std::vector<int64_t> all(static_cast<size_t>(n_pos));
      for (int64_t p = 0; p < n_pos; ++p) all[static_cast<size_t>(p)] = p;
      return saw_others(operand.at, Format::f32, all, std::move(rows));
    }
    const View& view = args.in[operand.input];
    const int64_t heads = stage.row_per == RowPer::token_head ? args.params.n_head : 1;
    const std::vector<int64_t> positions = held_positions(rows_(operand.at.stage, n_pos), view, n_pos, heads);
    const bool in_two_events = positions.size() == 2 && positions[1] - positions[0] > 1;
    if (positions.empty() || in_two_events) return;
    if (made != nullptr && holds(view, positions, n_pos, heads, made->values))
      return saw(operand.at, made->hash, view.format);
    saw_others(operand.at, view.format, positions, rows_at(view, positions, n_pos, heads));
  }

  void saw(At at, std::string hash, Format format) const {
    seen_->push_back({std::string(name(at.stage)), std::move(hash), std::string(name(format))});
  }

  void saw_others(At at, Format format, const std::vector<int64_t>& positions, std::vector<float> rows) {
    saw(at, hash_floats(rows).hex(), format);
    Event event;
    event.layer = at.layer;
    event.name = fmt::format("{} as {} read it", name(at.stage), name(of_.stage));
    event.positions = packed_positions(positions);
    event.shape = {std::ssize(positions), std::ssize(rows) / std::ssize(positions)};
    event.dtype = name(format);
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
