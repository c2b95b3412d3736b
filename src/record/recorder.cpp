#include "record/recorder.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/hash.h"
#include "bundle/decode0_row.h"
#include "engine/kernel_table.h"
#include "engine/kv_cache.h"
#include "record/operands.h"

namespace greta {
namespace {

/// The route of a kernel that ran, by the name that it wrote.
std::string route_of(std::string_view kernel) {
  const KernelInfo* entry = kernel_named(kernel);
  return entry != nullptr && entry->route ? std::string(name(*entry->route)) : "";
}

class RecordAction final : public Action {
 public:
  RecordAction(Recorder& recorder, At at, const RecordScope& scope, OperandsSeen operands)
      : recorder_(recorder),
        at_(at),
        rows_(scope.rows),
        next_slot_(scope.next_slot),
        operands_(std::move(operands)) {}

  std::string label() const override { return "record"; }

  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    Event event;
    event.layer = at_.layer;
    event.stage = name(at_.stage);
    if (args.launch->kernel != nullptr) event.kernel = args.launch->kernel;
    event.route = route_of(event.kernel);
    event.launches = args.launch->count;
    if (operands_ != nullptr) event.operands = *operands_;
    if (info(at_.stage).kind != StageKind::cache) return write_rows(args, event);
    std::vector<float> values = cache_rows(args, event);
    const int64_t n_pos = args.position + args.block_rows;
    if (next_slot_ && n_pos < args.cache.capacity) write_next(args.cache, n_pos, event);
    recorder_.write(std::move(event), std::move(values));
  }

 private:
  static std::vector<float> cache_rows(const KernelArgs& args, Event& event) {
    const int64_t n_pos = args.position + args.block_rows;
    event.positions = {0, n_pos - 1};
    event.shape = {n_pos, 2 * args.cache.n_head_kv * args.cache.head_dim};
    // Ours makes codes by the scale as it is stored (base/rounding.h).
    event.dtype = name(args.cache.format == Format::q8_0 ? Format::q8_0_stored : args.cache.format);
    return read_cache(args.cache, n_pos);
  }

  void write_next(const KvView& cache, int64_t slot, Event event) const {
    event.stage = kKvNext;
    event.positions = {slot, slot};
    event.shape = {1, 2 * cache.n_head_kv * cache.head_dim};
    recorder_.write(std::move(event), read_cache_row(cache, slot));
  }

  /// The wanted rows that the view holds (the block's last one only, perhaps).
  void write_rows(const KernelArgs& args, const Event& event) const {
    const int64_t n_pos = args.position + args.block_rows;
    std::vector<int64_t> positions = held_positions(rows_(at_.stage, n_pos), args.in[0], n_pos, heads(args));
    // Two that are no neighbours would read as a range: they are an event each.
    if (positions.size() == 2 && positions[1] - positions[0] > 1) {
      write_rows_at(args, {positions[0]}, event);
      positions.erase(positions.begin());
    }
    if (!positions.empty()) write_rows_at(args, positions, event);
  }

  void write_rows_at(const KernelArgs& args, const std::vector<int64_t>& positions, Event event) const {
    const int64_t per_row = heads(args), rows = std::ssize(positions), cols = args.in[0].cols;
    std::vector<float> values = rows_at(args.in[0], positions, args.position + args.block_rows, per_row);
    event.shape = is_by_head() ? std::vector<int64_t>{rows, per_row, cols} : std::vector<int64_t>{rows, cols};
    event.positions = packed_positions(positions);
    recorder_.write(std::move(event), std::move(values));
  }

  bool is_by_head() const { return info(at_.stage).row_per == RowPer::token_head; }
  int64_t heads(const KernelArgs& args) const { return is_by_head() ? args.params.n_head : 1; }

  Recorder& recorder_;
  At at_;
  std::function<std::vector<int64_t>(Stage, int64_t)> rows_;
  bool next_slot_;
  OperandsSeen operands_;  // of the op that makes the stage; or none
};

/// What the plan's stages are made from, each with its place among what the op reads.
class Operands {
 public:
  explicit Operands(PlanEdit& edit) {
    for (const Op& op : edit.ops()) {
      if (!op.makes) continue;
      made_.insert(*op.made());
      n_layer_ = std::max(n_layer_, op.layer + 1);
    }
  }

  std::vector<OperandPlace> of(const Op& op, const std::function<bool(At)>& wanted) const {
    std::vector<OperandPlace> places;
    size_t input = 0;
    for (const At at : operands_of(*op.made(), n_layer_, [this](At from) { return has(from); })) {
      const bool is_cache = info(at.stage).kind == StageKind::cache;
      if (wanted(at) && (is_cache || input < op.reads.size())) places.push_back({at, input});
      if (!is_cache) ++input;
    }
    return places;
  }

 private:
  bool has(At at) const { return info(at.stage).kind == StageKind::embedding || made_.contains(at); }

  std::set<At> made_;
  int n_layer_ = 0;
};

}  // namespace

void Recorder::write(Event event, std::vector<float> values) {
  event.phase = phase_;
  const std::optional<Stage> stage = stage_from_name(event.stage);
  if (stage && remembers_) {
    if (event.layer != layer_ && event.layer != kNoLayer) made_.clear();
    layer_ = event.layer;
    made_[{event.layer, *stage}] = {values, hash_floats(values).hex()};
  }
  sink_(std::move(event), std::move(values));
}

const Recorder::Made* Recorder::made(At at) const {
  const auto it = made_.find(at);
  return it == made_.end() ? nullptr : &it->second;
}

void insert_records(PlanEdit& edit, Recorder& recorder, const RecordScope& scope) {
  edit.unfuse([&](At made) { return scope.layers(made.layer); });
  const auto wanted = [&](At at) { return scope.layers(at.layer) && scope.stages(at.stage); };
  const auto record = [&](At at, OperandsSeen operands = nullptr) {
    return std::make_shared<RecordAction>(recorder, at, scope, std::move(operands));
  };
  const Operands operands(edit);
  if (scope.operands) recorder.remember();
  const Op* x_out = nullptr;  // of the layer before
  for (const Op& op : edit.ops()) {
    // A layer's x_in is the x_out of the one before, as it stands in the buffer when the layer begins.
    if (x_out != nullptr && op.layer == x_out->layer + 1) {
      const At x_in{op.layer, Stage::x_in};
      if (wanted(x_in)) edit.before(op, onlooker(*x_out, record(x_in))).layer = op.layer;
      x_out = nullptr;
    }
    if (op.makes == Stage::x_out) x_out = &op;
    if (!op.makes || !wanted(*op.made())) continue;
    OperandsSeen seen =
        scope.operands ? watch_operands(edit, op, operands.of(op, wanted), recorder, scope) : nullptr;
    edit.watch(op, record(*op.made(), std::move(seen)));
  }
}

}  // namespace greta
