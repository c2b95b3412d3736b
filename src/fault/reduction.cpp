// Projections that leave products out, sum in a narrow format, or round what they should not.

#include "base/half.h"
#include "fault/bank.h"
#include "fault/matrix.h"

namespace greta {
namespace {

float round_bf16(float x) { return bf16_to_f32(f32_to_bf16(x)); }
float round_f16(float x) { return f16_to_f32(f32_to_f16(x)); }

/// Leaves out the columns for which `missing(k, K)`.
template <bool (*missing)(int64_t k, int64_t count)>
void leave_out(Matrix& w, const TwinSite&) {
  for (int64_t row = 0; row < w.n; ++row) {
    for (int64_t k = 0; k < w.k; ++k) {
      if (missing(k, w.k)) w.at(row, k) = 0;
    }
  }
}

bool second_half(int64_t k, int64_t count) { return k >= count / 2; }
bool last_block(int64_t k, int64_t count) { return k >= count - 32; }
bool second_quarter(int64_t k, int64_t count) { return k >= count / 4 && k < count / 2; }
bool one_lane(int64_t k, int64_t) { return k % 16 == 5; }

void add_quarter_twice(Matrix& w, const TwinSite&) {
  for (int64_t row = 0; row < w.n; ++row) {
    for (int64_t k = w.k / 4; k < w.k / 2; ++k) w.at(row, k) *= 2;
  }
}

/// Sums in ascending k; `round` sees the sum after each addition, with the number of products in it.
template <class Round>
void sum_products(const WrongCall& call, Round round) {
  const PackedWeight& weight = *call.args.weight;
  const Rows x = as_f32(call.args.in[0], weight.k);
  std::vector<float> w(static_cast<size_t>(weight.k));
  for (int64_t n = 0; n < weight.n; ++n) {
    unpack_row(weight, n, w.data());
    for (int64_t r = 0; r < call.args.out.rows; ++r) {
      float sum = call.args.bias == nullptr ? 0 : call.args.bias[n];
      for (int64_t k = 0; k < weight.k; ++k) {
        sum = round(sum + w[static_cast<size_t>(k)] * x.view.row(r)[k], k + 1);
      }
      call.args.out.row(r)[n] = sum * call.args.params.scale;
    }
  }
}

template <float (*round)(float)>
Wrong accumulate(TwinSite&) {
  return [](const WrongCall& call) { sum_products(call, [](float sum, int64_t) { return round(sum); }); };
}

/// Partial sums go through bf16 memory twice on the way.
Wrong round_partial_sums(TwinSite&) {
  return [](const WrongCall& call) {
    const int64_t third = call.args.weight->k / 3;
    sum_products(call,
                 [=](float sum, int64_t n) { return n == third || n == 2 * third ? round_bf16(sum) : sum; });
  };
}

/// The input goes through a 16-bit buffer before the kernel (and its own rounding) sees it.
template <float (*round)(float)>
Wrong round_input(TwinSite& site) {
  const size_t unrounded = site.read_unrounded_input();
  return [kernel = site.call().kernel, isa = site.engine.options().isa, unrounded](const WrongCall& call) {
    const View& source = call.args.in[unrounded];
    const Rows rounded = make_rows(source.rows, source.cols);
    set_each(rounded.view, [&](int64_t r, int64_t i) { return round(source.row(r)[i]); });
    run_on(*kernel, call.args, rounded.view, isa);
  };
}

}  // namespace

FaultList reduction_faults() {
  const std::string warps = kGitHub + "vllm-project/vllm/pull/40827",
                    gemv = kGitHub + "vllm-project/vllm/pull/38914";
  const std::string mixed = kFounding + " (B3.64)";
  const auto truncated = [&](const char* name, Stage stage, const char* what, const std::string& source,
                             MakeWrong make) {
    return Fault{name, "reduction_truncated", stage, what, source, "reduction_truncated", std::move(make)};
  };
  const auto rounded = [&](const char* name, Stage stage, const char* what, MakeWrong make) {
    return Fault{name, "undeclared_rounding", stage, what, mixed, "undeclared_rounding", std::move(make)};
  };
  return {
      truncated("wq_half_sum", Stage::q, "only the first half of K is summed", warps,
                edited(leave_out<second_half>)),
      truncated("output_half_sum", Stage::logits, "only the first half of K is summed", warps,
                edited(leave_out<second_half>)),
      truncated("w_down_tail", Stage::down, "the last 32 of K are left out", gemv,
                edited(leave_out<last_block>)),
      truncated("w_gate_chunk", Stage::gate, "the second quarter of K is left out", gemv,
                edited(leave_out<second_quarter>)),
      truncated("w_up_lane", Stage::up, "one lane of 16 is left out of the sum", gemv,
                edited(leave_out<one_lane>)),
      truncated("wo_lane", Stage::attn_out, "one lane of 16 is left out of the sum", gemv,
                edited(leave_out<one_lane>)),
      {"wq_bf16_sum", "narrow_accumulator", Stage::q, "each addition of the sum is rounded to bf16", gemv,
       "narrow_accumulator", accumulate<round_bf16>},
      {"w_down_f16_sum", "narrow_accumulator", Stage::down, "each addition of the sum is rounded to f16",
       gemv, "narrow_accumulator", accumulate<round_f16>},
      rounded("wq_bf16_input", Stage::q, "the input is rounded to bf16 before the kernel",
              round_input<round_bf16>),
      rounded("w_up_f16_input", Stage::up, "the input is rounded to f16 before the kernel",
              round_input<round_f16>),
      rounded("wo_bf16_output", Stage::attn_out, "the output is rounded to bf16",
              change_each([](double x, int64_t) { return round_bf16(static_cast<float>(x)); })),
      {"wo_chunk_twice", "chunk_twice", Stage::attn_out, "the second quarter of K is added twice", kMadeUp,
       "reduction_truncated", edited(add_quarter_twice)},
      {"w_gate_partial_bf16", "partial_rounding", Stage::gate,
       "partial sums are rounded to bf16 at 1/3 and 2/3 of K", kMadeUp, "", round_partial_sums},
  };
}

}  // namespace greta
