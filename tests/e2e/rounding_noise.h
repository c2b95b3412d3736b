#pragma once
// What rounding may do to a whole model: noise of the size of each op's rounding error, put into the plan.
//
// A forward pass is run clean and with noise; how far the two part at a stage is how far two correct
// implementations with such rounding errors can part there. This replaces a worst-case analysis through 30
// layers, which would bound nothing
// (compare TTrace, arXiv 2506.09280, section 4: thresholds from perturbation).

#include <cmath>

#include "engine/plan_edit.h"
#include "engine/tiny_model.h"

namespace greta::test {

inline constexpr float kUnit = 0x1p-24f;  // of f32
/// How many times the distance that noise makes a stage may be off (reference_test.cpp says why).
inline constexpr double kSides = 4;

/// Adds noise to every row of the op's output (or input, before a quantisation).
class NoiseAction final : public Action {
 public:
  enum class Kind {
    sum,  // of K products: the error of f32 sums in any order, u sqrt(K) rms(row) (random walk of roundings)
    relative,  // a few roundings of each element: 4 u |x|
    bf16,      // rounding to bf16: uniform within its unit, 2^-8 |x|
    int8,      // what rounding to int8 per block of 32 does: uniform within half a step, amax / 254
  };
  NoiseAction(Kind kind, int64_t k, uint64_t seed) : kind_(kind), k_(k), noise_(seed) {}
  std::string label() const override { return "noise"; }

  void run(const KernelArgs& args, Part part) override {
    if (part.index != 0) return;
    for (int64_t r = 0; r < args.in[0].rows; ++r) add(args.in[0].row(r), args.in[0].cols);
  }

 private:
  void add(float* row, int64_t cols) {
    double squares = 0;
    for (int64_t i = 0; i < cols; ++i) squares += static_cast<double>(row[i]) * static_cast<double>(row[i]);
    const float rms = static_cast<float>(std::sqrt(squares / static_cast<double>(cols)));
    constexpr float deviation = 1.732f;  // uniform noise within this has the standard deviation 1
    for (int64_t i = 0; i < cols; ++i) {
      float most = 0;
      switch (kind_) {
        case Kind::sum: most = deviation * kUnit * std::sqrt(static_cast<float>(k_) / 6) * rms; break;
        case Kind::relative: most = deviation * kUnit * std::abs(row[i]); break;
        case Kind::bf16: most = 0x1p-8f * std::abs(row[i]); break;
        case Kind::int8: most = block_max(row, i / 32 * 32, cols) / 254; break;
      }
      noisy_.push_back(row[i] + most * noise_.next());
    }
    std::copy(noisy_.begin(), noisy_.end(), row);
    noisy_.clear();
  }

  static float block_max(const float* row, int64_t from, int64_t cols) {
    float max = 0;
    for (int64_t i = from; i < std::min(from + 32, cols); ++i) max = std::max(max, std::abs(row[i]));
    return max;
  }

  Kind kind_;
  int64_t k_;
  Noise noise_;
  std::vector<float> noisy_;
};

/// Noise after every op that makes a stage, and before everything that the plan rounds for matrix units.
/// Attention is apart. (Where that is the residual stream itself the residual gets this noise too.)
inline void add_rounding_noise(PlanEdit& edit, uint64_t seed) {
  uint64_t draw = seed * 1000003;
  const auto noise = [&](const Op& op, BufferId buffer, NoiseAction::Kind kind, int64_t k) {
    return Op{.layer = op.layer,
              .call = ActionCall{std::make_shared<NoiseAction>(kind, k, draw++)},
              .reads = {buffer},
              .writes = buffer};  // so that readers wait for it
  };
  for (const Op& op : edit.ops()) {
    const auto* call = std::get_if<KernelCall>(&op.call);
    if (call == nullptr) continue;
    if (is_kind(op, OpKind::quantize)) {
      const bool int8 = call->kernel->roundings.output == Format::q8_block32;
      edit.before(op, noise(op, op.reads[0], int8 ? NoiseAction::Kind::int8 : NoiseAction::Kind::bf16, 1));
    }
    if (!op.makes || op.writes == kNoBuffer || is_kind(op, OpKind::embed)) continue;
    const bool matmul = is_kind(op, OpKind::matmul) || is_kind(op, OpKind::expert_matmul);
    const bool sum = matmul || is_kind(op, OpKind::qk) || is_kind(op, OpKind::pv);
    if (op.makes == Stage::qk || op.makes == Stage::softmax) continue;  // -inf has no noise; pv has it
    if (op.makes == Stage::experts) continue;                           // numbers
    edit.after(op, noise(op, op.writes, sum ? NoiseAction::Kind::sum : NoiseAction::Kind::relative,
                         matmul ? call->weight->k : call->params.head_dim));
  }
}

}  // namespace greta::test
