#include "record/recorder.h"

#include <utility>

#include "bundle/decode0_row.h"
#include "engine/kernel_table.h"
#include "engine/kv_cache.h"

namespace greta {
namespace {

/// The route of a kernel that ran, by the name that it wrote.
std::string route_of(std::string_view kernel) {
  const KernelInfo* entry = kernel_named(kernel);
  return entry != nullptr && entry->route ? std::string(name(*entry->route)) : "";
}

class RecordAction final : public Action {
 public:
  RecordAction(Recorder& recorder, At at, const RecordScope& scope)
      : recorder_(recorder), at_(at), rows_(scope.rows), next_slot_(scope.next_slot) {}

  std::string label() const override { return "record"; }

  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    Event event;
    event.layer = at_.layer;
    event.stage = name(at_.stage);
    if (args.launch->kernel != nullptr) event.kernel = args.launch->kernel;
    event.route = route_of(event.kernel);
    event.launches = args.launch->count;
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
    const int64_t n_pos = args.position + args.block_rows, first = n_pos - args.in[0].rows / heads(args);
    std::vector<int64_t> positions = rows_(at_.stage, n_pos);
    std::erase_if(positions, [&](int64_t p) { return p < first || p >= n_pos; });
    // Two that are no neighbours would read as a range: they are an event each.
    if (positions.size() == 2 && positions[1] - positions[0] > 1) {
      write_rows_at(args, {positions[0]}, event);
      positions.erase(positions.begin());
    }
    if (!positions.empty()) write_rows_at(args, positions, event);
  }

  void write_rows_at(const KernelArgs& args, const std::vector<int64_t>& positions, Event event) const {
    const View& view = args.in[0];
    const int64_t per_row = heads(args), rows = std::ssize(positions);
    const int64_t first = args.position + args.block_rows - view.rows / per_row;
    std::vector<float> values;
    values.reserve(positions.size() * static_cast<size_t>(per_row * view.cols));
    for (const int64_t position : positions) {
      for (int64_t r = (position - first) * per_row; r < (position - first + 1) * per_row; ++r)
        values.insert(values.end(), view.row(r), view.row(r) + view.cols);
    }
    event.shape =
        is_by_head() ? std::vector<int64_t>{rows, per_row, view.cols} : std::vector<int64_t>{rows, view.cols};
    event.positions = packed_positions(positions);
    recorder_.write(std::move(event), std::move(values));
  }

  bool is_by_head() const { return info(at_.stage).row_per == RowPer::token_head; }
  int64_t heads(const KernelArgs& args) const { return is_by_head() ? args.params.n_head : 1; }

  Recorder& recorder_;
  At at_;
  std::function<std::vector<int64_t>(Stage, int64_t)> rows_;
  bool next_slot_;
};

}  // namespace

void Recorder::write(Event event, std::vector<float> values) const {
  event.phase = phase_;
  sink_(std::move(event), std::move(values));
}

void insert_records(PlanEdit& edit, Recorder& recorder, const RecordScope& scope) {
  edit.unfuse([&](At made) { return scope.layers(made.layer); });
  const auto wanted = [&](At at) { return scope.layers(at.layer) && scope.stages(at.stage); };
  const auto record = [&](At at) { return std::make_shared<RecordAction>(recorder, at, scope); };
  const Op* x_out = nullptr;  // of the layer before
  for (const Op& op : edit.ops()) {
    // A layer's x_in is the x_out of the one before, as it stands in the buffer when the layer begins.
    if (x_out != nullptr && op.layer == x_out->layer + 1) {
      const At x_in{op.layer, Stage::x_in};
      if (wanted(x_in)) edit.before(op, onlooker(*x_out, record(x_in))).layer = op.layer;
      x_out = nullptr;
    }
    if (op.makes == Stage::x_out) x_out = &op;
    if (op.makes && wanted(*op.made())) edit.watch(op, record(*op.made()));
  }
}

}  // namespace greta
