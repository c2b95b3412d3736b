#include "record/recorder.h"

#include <utility>

#include "engine/kernel_table.h"
#include "engine/kv_cache.h"
#include "engine/transform.h"

namespace greta {
namespace {

/// The route of a kernel that ran, by the name that it wrote.
std::string route_of(std::string_view kernel) {
  const KernelInfo* entry = kernel_named(kernel);
  return entry != nullptr && entry->route ? std::string(name(*entry->route)) : "";
}

class RecordAction final : public Action {
 public:
  RecordAction(Recorder& recorder, Stage stage, int layer, const RecordScope& scope)
      : recorder_(recorder), stage_(stage), layer_(layer), rows_(scope.rows) {}

  std::string label() const override { return "record"; }

  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    Event event;
    event.layer = layer_;
    event.stage = name(stage_);
    if (args.launch->kernel != nullptr) event.kernel = args.launch->kernel;
    event.route = route_of(event.kernel);
    event.launches = args.launch->count;
    std::vector<float> values =
        stage_ == Stage::kv_write ? cache_rows(args, event) : wanted_rows(args, event);
    if (!event.positions.empty()) recorder_.write(std::move(event), std::move(values));
  }

 private:
  static std::vector<float> cache_rows(const KernelArgs& args, Event& event) {
    const int64_t n_pos = args.position + args.block_rows;
    event.positions = {0, n_pos - 1};
    event.shape = {n_pos, 2 * args.cache.n_head_kv * args.cache.head_dim};
    event.dtype = name(args.cache.format);
    return read_cache(args.cache, n_pos);
  }

  std::vector<float> wanted_rows(const KernelArgs& args, Event& event) const {
    const View& view = args.in[0];
    const bool scores = stage_ == Stage::qk || stage_ == Stage::softmax;
    const int64_t heads = scores ? args.params.n_head : 1;
    const int64_t n_pos = args.position + args.block_rows;
    // A view may hold the block's last row only.
    const int64_t first = n_pos - view.rows / heads;
    std::vector<int64_t> positions = rows_(stage_, n_pos);
    std::erase_if(positions, [&](int64_t p) { return p < first || p >= n_pos; });
    std::vector<float> values;
    values.reserve(positions.size() * static_cast<size_t>(heads * view.cols));
    for (const int64_t position : positions) {
      for (int64_t r = (position - first) * heads; r < (position - first + 1) * heads; ++r)
        values.insert(values.end(), view.row(r), view.row(r) + view.cols);
    }
    const int64_t rows = std::ssize(positions);
    event.shape =
        scores ? std::vector<int64_t>{rows, heads, view.cols} : std::vector<int64_t>{rows, view.cols};
    event.positions = packed_positions(positions);
    return values;
  }

  Recorder& recorder_;
  Stage stage_;
  int layer_;
  std::function<std::vector<int64_t>(Stage, int64_t)> rows_;
};

/// A record op for what `producer` made (or, for x_in, for what it left in `buffer`).
Op record_op(const Op& producer, BufferId buffer, Stage stage, int layer, Recorder& recorder,
             const RecordScope& scope) {
  Op op;
  op.kind = OpKind::add;  // of no meaning: the action runs
  op.layer = layer;
  op.stage = stage;
  op.action = std::make_shared<RecordAction>(recorder, stage, layer, scope);
  op.in = {buffer, kNoBuffer};
  op.uses_cache = producer.uses_cache;
  op.params = producer.params;
  op.launch_of = producer.id;
  return op;
}

}  // namespace

void Recorder::write(Event event, std::vector<float> values) const {
  event.phase = phase_;
  sink_(std::move(event), std::move(values));
}

void insert_records(Plan& plan, Isa isa, Recorder& recorder, const RecordScope& scope) {
  unfuse(plan);
  unfuse_attention(plan, isa, scope.layers);
  std::vector<Op> ops;
  const auto record = [&](const Op& producer, BufferId buffer, Stage stage, int layer) {
    if (!scope.layers(layer) || !scope.stages(stage)) return;
    ops.push_back(record_op(producer, buffer, stage, layer, recorder, scope));
    ops.back().id = plan.next_id++;
  };
  const Op* x_out = nullptr;  // of the layer before
  for (const Op& op : plan.ops) {
    const bool makes_stage = op.stage && op.launch_of == op.id;  // not what another recorder put in
    // A layer's x_in is the x_out of the one before, as it stands in the buffer when the layer begins.
    if (x_out != nullptr && op.layer == x_out->layer + 1) {
      record(*x_out, x_out->out, Stage::x_in, op.layer);
      x_out = nullptr;
    }
    ops.push_back(op);
    if (makes_stage && op.stage == Stage::x_out) x_out = &op;
    if (makes_stage) record(op, op.out, *op.stage, op.layer);
  }
  plan.ops = std::move(ops);
  set_barriers(plan);
}

}  // namespace greta
