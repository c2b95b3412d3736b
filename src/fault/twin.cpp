#include "fault/twin.h"

#include <algorithm>
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
        kernel_(site.call().kernel),
        inner_(inner_of(site.op)),
        at_(site.at()),
        heads_(row_heads(at_.stage, site.config())),
        rows_per_token_(rows_per_token(at_.stage, site.config())),
        wrong_(std::move(wrong)),
        condition_(condition),
        state_(std::move(state)) {}

  std::string label() const override { return label_; }

  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    if (!condition_.holds(args) || !due()) {
      run_right(args);
    } else if (kernel_->op == OpKind::kv_write) {
      run_on_cache(args);
    } else {
      run_on_output(args);
    }
  }

 private:
  static std::shared_ptr<Action> inner_of(const Op& op) {
    const auto* twin = std::get_if<TwinCall>(&op.call);
    return twin != nullptr ? twin->action : nullptr;
  }

  bool due() {
    const int64_t runs = ++state_->runs[at_];
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
      for (View& view : call.args.in) {
        if (view.data != nullptr) drop_rows(view, skip);
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
    const bool row_per_head = info(at_.stage).row_per == RowPer::token_head;
    const int64_t first_column = row_per_head || !has_heads(at_.stage) ? 0 : first_head * (out.cols / heads_);
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
  At at_;
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

size_t TwinSite::read_also(BufferId buffer) const {
  const auto found = std::find(op.reads.begin(), op.reads.end(), buffer);
  const size_t index = static_cast<size_t>(found - op.reads.begin());
  if (index == kMaxInputs) {
    fail_input("the faults at {} of layer {} need more inputs than the {} that an op can have; inject fewer",
               name(at().stage), op.layer, kMaxInputs);
  }
  if (found == op.reads.end()) op.reads.push_back(buffer);
  return index;
}

size_t TwinSite::read_also(Stage stage) const {
  // x_in has an op in the first layer only; the buffer is the residual stream, which all layers share.
  const Op* made = edit.find({stage == Stage::x_in ? 0 : op.layer, stage});
  if (made == nullptr) fail_machine("no op makes {} of layer {}", name(stage), op.layer);
  return read_also(made->writes);
}

size_t TwinSite::read_unrounded_input() const {
  const Op* made = nullptr;  // the last before it that wrote its input
  for (const Op& before : edit.ops()) {
    if (&before == &op) break;
    if (before.writes == op.reads[0]) made = &before;
  }
  if (made == nullptr) fail_machine("no op makes the input of {}", name(at().stage));
  return read_also(is_kind(*made, OpKind::quantize) ? made->reads[0] : op.reads[0]);
}

std::shared_ptr<Action> make_twin(const TwinSite& site, std::string label, Wrong wrong,
                                  const FaultCondition& condition, std::shared_ptr<FaultState> state) {
  return std::make_shared<FaultyTwin>(site, std::move(label), std::move(wrong), condition, std::move(state));
}

Rows make_rows(int64_t rows, int64_t cols, Format format) {
  const int64_t stride = format == Format::f32 ? round_up(cols * 4, 64) : activation_row_bytes(format, cols);
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
    } else if (in.format == Format::bf16 || in.format == Format::f16) {
      const uint16_t* x = reinterpret_cast<const uint16_t*>(data);
      for (int64_t i = 0; i < cols; ++i)
        out[i] = in.format == Format::f16 ? f16_to_f32(x[i]) : bf16_to_f32(x[i]);
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
    const KernelInfo& quantize =
        require_kernel({.op = OpKind::quantize, .isa = isa, .activation = format},
                       fmt::format("no kernel to round activations to {}", name(format)));
    KernelArgs rounding = args;
    rounding.out = rounded.view;
    quantize.run(rounding, kAlone);
    args.in[0] = rounded.view;
  }
  kernel.run(args, kAlone);
}

Wrong multiply_by(const TwinSite& site, std::shared_ptr<const PackedWeight> weight) {
  // A simulated device's kernels take any type of weight.
  if (weight->type == site.call().weight->type || is_simulated(site.call().kernel->device)) {
    return [kernel = site.call().kernel, weight](const WrongCall& call) {
      KernelArgs args = call.args;
      args.weight = weight.get();
      kernel->run(args, kAlone);
    };
  }
  const KernelInfo& f32 = require_kernel({.op = OpKind::matmul,
                                          .isa = site.engine.options().isa,
                                          .weight_type = TensorType::f32,
                                          .route = Route::vector,
                                          .shape = Shape::gemm},
                                         "no matmul kernel for a faulty twin");
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
