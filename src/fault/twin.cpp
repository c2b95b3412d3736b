#include "fault/twin.h"

#include <cstring>
#include <utility>

#include "base/error.h"
#include "base/half.h"
#include "engine/kernel_table.h"
#include "engine/kv_cache.h"

namespace greta {
namespace {

constexpr Part kAlone{0, 1};

/// A copy of rows, with their stride.
Rows copy_of(const View& rows) {
  Rows copy{AlignedBytes(rows.rows * rows.stride), rows};
  copy.view.data = copy.bytes.data();
  if (copy.bytes.size() > 0)
    std::memcpy(copy.bytes.data(), rows.data, static_cast<size_t>(copy.bytes.size()));
  return copy;
}

void drop_rows(View& view, int64_t n) {
  view.data += n * view.stride;
  view.rows -= n;
}

class FaultyTwin final : public Action {
 public:
  FaultyTwin(const TwinSite& site, std::string label, Wrong wrong, const FaultCondition& condition,
             std::shared_ptr<FaultState> state)
      : label_(std::move(label)),
        kernel_(site.op().kernel),
        inner_(site.op().action),
        kind_(site.op().kind),
        layer_(site.op().layer),
        stage_(*site.op().stage),
        heads_(row_heads(stage_, site.config())),
        rows_per_token_(rows_per_token(stage_, site.config())),
        wrong_(std::move(wrong)),
        condition_(condition),
        state_(std::move(state)) {}

  std::string label() const override { return label_; }

  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    if (!condition_.holds(args) || !due()) {
      run_right(args);
    } else if (kind_ == OpKind::kv_write) {
      run_on_cache(args);
    } else {
      run_on_output(args);
    }
  }

 private:
  bool due() {
    const int64_t runs = ++state_->runs[{layer_, stage_}];
    return !condition_.every || runs % *condition_.every == 0;
  }

  void run_right(const KernelArgs& args) {
    if (inner_) {
      inner_->run(args, kAlone);
    } else {
      kernel_->run(args, kAlone);
    }
  }

  void run_on_cache(const KernelArgs& args) {
    const CacheCopy before(args.cache);
    run_right(args);
    WrongCall call{args, {}, before.view()};
    if (const int64_t skip = condition_.from_position.value_or(0) - args.position; skip > 0) {
      if (skip >= args.block_rows) return;
      for (View* view : {&call.args.in[0], &call.args.in[1], &call.args.extra}) {
        if (view->data != nullptr) drop_rows(*view, skip);
      }
      call.args.position += skip;
      call.args.block_rows -= skip;
    }
    wrong_(call);
  }

  void run_on_output(const KernelArgs& args) {
    const Rows before = copy_of(args.out);
    run_right(args);
    const Rows wrong = copy_of(args.out);
    Launch unseen;
    WrongCall call{args, before.view, {}};
    call.args.out = wrong.view;
    call.args.launch = &unseen;
    wrong_(call);
    merge(wrong.view, args);
  }

  /// Lets the wrong rows and heads stand that the condition names.
  void merge(const View& wrong, const KernelArgs& args) const {
    const View& out = args.out;
    const int64_t per_token = rows_per_token_;
    const int64_t first_head = condition_.from_head.value_or(0);
    const bool row_per_head = info(stage_).row_per == RowPer::token_head;
    const int64_t first_column = row_per_head || !has_heads(stage_) ? 0 : first_head * (out.cols / heads_);
    // The rows are the last ones of the block.
    const int64_t first_position = args.position + args.block_rows - out.rows / per_token;
    for (int64_t r = 0; r < out.rows; ++r) {
      if (first_position + r / per_token < condition_.from_position.value_or(0)) continue;
      if (row_per_head && r % per_token < first_head) continue;
      std::memcpy(out.row(r) + first_column, wrong.row(r) + first_column,
                  static_cast<size_t>(out.cols - first_column) * sizeof(float));
    }
  }

  std::string label_;
  const KernelInfo* kernel_;
  std::shared_ptr<Action> inner_;  // a twin that was here before
  OpKind kind_;
  int layer_;
  Stage stage_;
  int64_t heads_, rows_per_token_;
  Wrong wrong_;
  FaultCondition condition_;
  std::shared_ptr<FaultState> state_;
};

}  // namespace

bool FaultCondition::holds(const KernelArgs& args) const {
  if (rows_above && args.block_rows <= *rows_above) return false;
  return !rows_equal || args.block_rows == *rows_equal;
}

bool has_heads(Stage stage) {
  return info(stage).heads != Heads::none && info(stage).row_per != RowPer::cache;
}

void TwinSite::read_also(BufferId buffer) const {
  if (op().extra != kNoBuffer && op().extra != buffer) {
    fail_input("two faults at {} of layer {} need different inputs that the op does not have; inject one",
               name(*op().stage), op().layer);
  }
  op().extra = buffer;
}

void TwinSite::read_also(Stage stage) const {
  // x_in has an op in the first layer only; the buffer is the residual stream, which all layers share.
  const int made = stage == Stage::x_in ? plan.find(stage, 0) : plan.find(stage, op().layer);
  if (made < 0) fail_machine("no op makes {} of layer {}", name(stage), op().layer);
  read_also(plan.ops[static_cast<size_t>(made)].out);
}

void TwinSite::read_unrounded_input() const {
  for (size_t i = index; i-- > 0;) {
    const Op& before = plan.ops[i];
    if (before.out != op().in[0]) continue;
    return read_also(before.kind == OpKind::quantize ? before.in[0] : op().in[0]);
  }
  fail_machine("no op makes the input of {}", name(*op().stage));
}

std::shared_ptr<Action> make_twin(const TwinSite& site, std::string label, Wrong wrong,
                                  const FaultCondition& condition, std::shared_ptr<FaultState> state) {
  return std::make_shared<FaultyTwin>(site, std::move(label), std::move(wrong), condition, std::move(state));
}

Rows make_rows(int64_t rows, int64_t cols, Format format) {
  const int64_t stride =
      format == Format::f32 ? (cols * 4 + 63) / 64 * 64 : activation_row_bytes(format, cols);
  Rows made{AlignedBytes(rows * stride), {nullptr, rows, cols, stride, format}};
  made.view.data = made.bytes.data();
  return made;
}

Rows as_f32(const View& in, int64_t cols) {
  Rows rows = make_rows(in.rows, cols);
  for (int64_t r = 0; r < in.rows; ++r) {
    float* out = rows.view.row(r);
    const std::byte* data = in.raw_row(r);
    if (in.format == Format::q8_block32) {
      const ActivationBlock* blocks = reinterpret_cast<const ActivationBlock*>(data);
      for (int64_t i = 0; i < cols; ++i) {
        const ActivationBlock& block = blocks[i / kBlock];
        out[i] = static_cast<float>(block.q[i % kBlock]) * block.d;
      }
    } else if (in.format == Format::bf16) {
      const uint16_t* x = reinterpret_cast<const uint16_t*>(data);
      for (int64_t i = 0; i < cols; ++i) out[i] = bf16_to_f32(x[i]);
    } else {
      std::memcpy(out, data, static_cast<size_t>(cols) * sizeof(float));
    }
  }
  return rows;
}

void run_on(const KernelInfo& kernel, KernelArgs args, const View& in, Isa isa) {
  const Format format = kernel.roundings.activation;
  Rows rounded;
  args.in[0] = in;
  if (format != Format::f32) {
    rounded = make_rows(in.rows, in.cols, format);
    std::string why;
    const KernelInfo* quantize =
        find_kernel({.op = OpKind::quantize, .isa = isa, .activation = format}, &why);
    if (quantize == nullptr) fail_machine("no kernel to round activations to {}: {}", name(format), why);
    KernelArgs rounding = args;
    rounding.out = rounded.view;
    quantize->run(rounding, kAlone);
    args.in[0] = rounded.view;
  }
  kernel.run(args, kAlone);
}

const KernelInfo& kernel_for(const Engine& engine, const KernelQuery& query) {
  std::string why;
  const KernelInfo* kernel = find_kernel(query, &why);
  if (kernel == nullptr)
    fail_machine("no {} kernel for a faulty twin on {}: {}", name(query.op), name(engine.options().isa), why);
  return *kernel;
}

Wrong multiply_by(const TwinSite& site, std::shared_ptr<const PackedWeight> weight) {
  // A simulated device's kernels take any type of weight.
  if (weight->type == site.op().weight->type || site.op().kernel->device != "cpu") {
    return [kernel = site.op().kernel, weight](const WrongCall& call) {
      KernelArgs args = call.args;
      args.weight = weight.get();
      kernel->run(args, kAlone);
    };
  }
  const KernelInfo& f32 = kernel_for(site.engine, {.op = OpKind::matmul,
                                                   .isa = site.engine.options().isa,
                                                   .weight_type = TensorType::f32,
                                                   .route = Route::vector,
                                                   .shape = Shape::gemm});
  return [&f32, weight](const WrongCall& call) {
    // The activation rounding of the kernel in whose place this runs stays as it was.
    const Rows in = as_f32(call.args.in[0], weight->k);
    KernelArgs args = call.args;
    args.in[0] = in.view;
    args.weight = weight.get();
    f32.run(args, kAlone);
  };
}

MakeWrong change_each(std::function<double(double value, int64_t column)> f) {
  return [f = std::move(f)](TwinSite&) -> Wrong {
    return [f](const WrongCall& call) {
      const View& out = call.args.out;
      set_each(out, [&](int64_t r, int64_t i) { return f(static_cast<double>(out.row(r)[i]), i); });
    };
  };
}

double noise_at(uint64_t index) {
  uint64_t x = (index + 1) * 0x9e3779b97f4a7c15u;  // splitmix64
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  x ^= x >> 31;
  return static_cast<double>(x >> 11) * 0x1p-52 - 1;
}

}  // namespace greta
