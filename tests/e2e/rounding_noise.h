#pragma once
// What rounding may do to a whole model: noise of the size of each op's rounding error, put into the plan.
//
// A forward pass is run clean and with noise; how far the two part at a stage is how far two correct
// implementations with such rounding errors can part there. This replaces a worst-case analysis through 30
// layers, which would bound nothing
// (compare TTrace, arXiv 2506.09280, section 4: thresholds from perturbation).

#include <cmath>

#include "engine/tiny_model.h"
#include "engine/transform.h"

namespace greta::test {

inline constexpr float kUnit = 0x1p-24f;  // of f32

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
/// (Where that is the residual stream itself the residual gets this noise too.)
inline void add_rounding_noise(Plan& plan, uint64_t seed) {
  std::vector<Op> ops;
  const auto insert = [&](const Op& op, BufferId buffer, NoiseAction::Kind kind, int64_t k) {
    Op noise;
    noise.id = noise.launch_of = plan.next_id++;
    noise.layer = op.layer;
    noise.in = {buffer, kNoBuffer};
    noise.out = buffer;  // so that readers wait for it
    noise.action = std::make_shared<NoiseAction>(kind, k, seed * 1000003 + static_cast<uint64_t>(noise.id));
    ops.push_back(noise);
  };
  for (const Op& op : plan.ops) {
    if (op.kind == OpKind::quantize && !op.action) {
      const bool int8 = op.kernel->roundings.output == Format::q8_block32;
      insert(op, op.in[0], int8 ? NoiseAction::Kind::int8 : NoiseAction::Kind::bf16, 1);
    }
    ops.push_back(op);
    if (op.action || !op.stage || op.out == kNoBuffer || op.kind == OpKind::embed) continue;
    const bool matmul = op.kind == OpKind::matmul;
    const bool sum = matmul || op.kind == OpKind::qk || op.kind == OpKind::pv || op.kind == OpKind::attention;
    if (op.stage == Stage::qk || op.stage == Stage::softmax) continue;  // -inf has no noise; pv has it
    insert(op, op.out, sum ? NoiseAction::Kind::sum : NoiseAction::Kind::relative,
           matmul ? op.weight->k : op.params.head_dim);
  }
  plan.ops = std::move(ops);
  set_barriers(plan);
}

}  // namespace greta::test
