#include "trace/recorder.h"

#include <utility>

#include "engine/kv_cache.h"
#include "engine/transform.h"

namespace greta::trace {
namespace {

/// The route of a kernel that ran, by the name that it wrote.
std::string route_of(std::string_view kernel) {
  for (const KernelInfo& entry : kernel_table()) {
    if (entry.name == kernel) return entry.route ? std::string(name(*entry.route)) : "";
  }
  return "";
}

class RecordAction final : public Action {
 public:
  RecordAction(Recorder& recorder, Stage stage, int layer)
      : recorder_(recorder), stage_(stage), layer_(layer) {}

  std::string label() const override { return "record"; }

  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    Event event;
    event.layer = layer_;
    event.stage = name(stage_);
    if (args.launch->kernel != nullptr) event.kernel = args.launch->kernel;
    event.route = route_of(event.kernel);
    event.launches = args.launch->count;
    const std::vector<float> values =
        stage_ == Stage::kv_write ? cache_rows(args, event) : last_row(args, event);
    recorder_.write(std::move(event), values);
  }

 private:
  static std::vector<float> cache_rows(const KernelArgs& args, Event& event) {
    const int64_t n_pos = args.position + args.block_rows;
    event.positions = {0, n_pos - 1};
    event.shape = {n_pos, 2 * args.cache.n_head_kv * args.cache.head_dim};
    event.dtype = name(args.cache.format);
    return read_cache(args.cache, n_pos);
  }

  std::vector<float> last_row(const KernelArgs& args, Event& event) const {
    const View& view = args.in[0];
    const bool scores = stage_ == Stage::qk || stage_ == Stage::softmax;
    const int64_t rows = scores ? args.params.n_head : 1;
    const int64_t position = args.position + args.block_rows - 1;
    event.positions = {position, position};
    event.shape = scores ? std::vector<int64_t>{1, rows, view.cols} : std::vector<int64_t>{1, view.cols};
    std::vector<float> values;
    values.reserve(static_cast<size_t>(rows * view.cols));
    for (int64_t r = view.rows - rows; r < view.rows; ++r) {
      values.insert(values.end(), view.row(r), view.row(r) + view.cols);
    }
    return values;
  }

  Recorder& recorder_;
  Stage stage_;
  int layer_;
};

/// A record op for what `producer` made (or, for x_in, for what it left in `buffer`).
Op record_op(const Op& producer, BufferId buffer, Stage stage, int layer, Recorder& recorder) {
  Op op;
  op.kind = OpKind::add;  // of no meaning: the action runs
  op.layer = layer;
  op.stage = stage;
  op.action = std::make_shared<RecordAction>(recorder, stage, layer);
  op.in = {buffer, kNoBuffer};
  op.uses_cache = producer.uses_cache;
  op.params = producer.params;
  op.launch_of = producer.id;
  return op;
}

}  // namespace

void Recorder::begin(std::string experiment, std::string prompt_id, std::string phase) {
  experiment_ = std::move(experiment);
  prompt_id_ = std::move(prompt_id);
  phase_ = std::move(phase);
}

void Recorder::write(Event event, std::span<const float> values) {
  event.experiment = experiment_;
  event.prompt_id = prompt_id_;
  event.cell = experiment_ + "/" + prompt_id_;
  event.phase = phase_;
  sink_(std::move(event), values);
}

void insert_records(Plan& plan, Isa isa, Recorder& recorder, const std::function<bool(int layer)>& wanted) {
  unfuse_attention(plan, isa, wanted);
  std::vector<Op> ops;
  const auto record = [&](const Op& producer, BufferId buffer, Stage stage, int layer) {
    ops.push_back(record_op(producer, buffer, stage, layer, recorder));
    ops.back().id = plan.next_id++;
  };
  const Op* x_out = nullptr;  // of the layer before
  for (const Op& op : plan.ops) {
    // A layer's x_in is the x_out of the one before, as it stands in the buffer when the layer begins.
    if (op.stage == Stage::attn_norm && x_out != nullptr && wanted(op.layer)) {
      record(*x_out, op.in[0], Stage::x_in, op.layer);
    }
    ops.push_back(op);
    if (op.stage == Stage::x_out) x_out = &op;
    if (op.stage && op.launch_of == op.id && wanted(op.layer)) record(op, op.out, *op.stage, op.layer);
  }
  plan.ops = std::move(ops);
  set_barriers(plan);
}

}  // namespace greta::trace
