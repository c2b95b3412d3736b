#include "isolate/fault_twins.h"

#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace greta::isolate {
namespace {

/// W read column-major from its dequantised buffer, packed as f32.
PackedWeight column_major(const PackedWeight& weight) {
  std::vector<float> buffer(static_cast<size_t>(weight.n * weight.k));
  for (int64_t row = 0; row < weight.n; ++row)
    unpack_row(weight, row, &buffer[static_cast<size_t>(row * weight.k)]);
  std::vector<float> misread(buffer.size());
  for (int64_t i = 0; i < weight.n; ++i) {
    for (int64_t j = 0; j < weight.k; ++j) {
      misread[static_cast<size_t>(i * weight.k + j)] = buffer[static_cast<size_t>(j * weight.n + i)];
    }
  }
  return pack(TensorType::f32, std::as_bytes(std::span(misread)), weight.n, weight.k);
}

/// An activation row in its kernel's format, as f32: what the kernel multiplies with.
void dequantize(const View& in, int64_t row, int64_t k, float* out) {
  const std::byte* data = in.raw_row(row);
  if (in.format == Format::q8_block32) {
    const ActivationBlock* blocks = reinterpret_cast<const ActivationBlock*>(data);
    for (int64_t i = 0; i < k; ++i) {
      const ActivationBlock& block = blocks[i / kBlock];
      out[i] = static_cast<float>(block.q[i % kBlock]) * block.d;
    }
  } else if (in.format == Format::bf16) {
    const uint16_t* x = reinterpret_cast<const uint16_t*>(data);
    for (int64_t i = 0; i < k; ++i) out[i] = bf16_to_f32(x[i]);
  } else {
    std::memcpy(out, data, static_cast<size_t>(k) * sizeof(float));
  }
}

class ColumnMajor final : public Action {
 public:
  ColumnMajor(const Op& op, const KernelInfo& f32_kernel, FaultCondition condition, int threads)
      : right_(op.kernel),
        f32_kernel_(f32_kernel),
        condition_(condition),
        weight_(column_major(*op.weight)),
        rows_(static_cast<size_t>(threads)) {}

  std::string label() const override { return "fault: weight column-major in " + right_->name; }

  void run(const KernelArgs& args, Part part) override {
    if (!condition_.holds(args)) return right_->run(args, part);
    // The activation rounding of the kernel in whose place this runs stays as it was.
    std::vector<float>& rows = rows_[static_cast<size_t>(part.index)];
    rows.resize(static_cast<size_t>(args.in[0].rows * weight_.k));
    for (int64_t r = 0; r < args.in[0].rows; ++r)
      dequantize(args.in[0], r, weight_.k, &rows[static_cast<size_t>(r * weight_.k)]);
    KernelArgs wrong = args;
    wrong.in[0] = {reinterpret_cast<std::byte*>(rows.data()), args.in[0].rows, weight_.k, weight_.k * 4,
                   Format::f32};
    wrong.weight = &weight_;
    f32_kernel_.run(wrong, part);
    // The engine believes that its own kernel ran: a diagnosis must not be told otherwise by the name.
    if (part.index == 0) args.launch->kernel = right_->name.c_str();
  }

 private:
  const KernelInfo* right_;
  const KernelInfo& f32_kernel_;
  FaultCondition condition_;
  PackedWeight weight_;
  std::vector<std::vector<float>> rows_;  // by thread
};

}  // namespace

std::shared_ptr<Action> make_column_major(const Engine& engine, const Op& op,
                                          const FaultCondition& condition) {
  std::string why;
  const KernelInfo* kernel = find_kernel({.op = OpKind::matmul,
                                          .isa = engine.options().isa,
                                          .weight_type = TensorType::f32,
                                          .route = Route::vector,
                                          .shape = Shape::gemm},
                                         &why);
  if (kernel == nullptr) fail_machine("no f32 kernel for the faulty twin: {}", why);
  return std::make_shared<ColumnMajor>(op, *kernel, condition, engine.options().threads);
}

}  // namespace greta::isolate
