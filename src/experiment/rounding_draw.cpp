#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "experiment/bound.h"
#include "numerics/bounds.h"

namespace greta {
namespace {

constexpr std::array<Precision, 4> kPrecisions{{{"f32", Format::f32, Format::f32},
                                                {"bf16", Format::bf16, Format::bf16},
                                                {"f16", Format::f16, Format::f16},
                                                {"int8", Format::q8_block32, Format::f32}}};

/// Signs by chance: the same for one seed, op and row, whoever asks.
class Signs {
 public:
  explicit Signs(uint64_t seed) : state_(seed) {}

  double next() {
    if (left_ == 0) draw();
    const bool up = (bits_ >> --left_ & 1) != 0;
    return up ? 1 : -1;
  }

 private:
  /// SplitMix64 (Steele, Lea, Flood 2014).
  void draw() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    bits_ = z ^ z >> 31;
    left_ = 64;
  }

  uint64_t state_, bits_ = 0;
  int left_ = 0;
};

/// Of one stage's result.
struct RowRounding {
  int64_t terms = 0;  // of the sum that makes an element; 0: a few operations, no sum
  Format result = Format::f32;
  Format input = Format::f32;  // of a projection that reads it; f32 where none does
};

class RoundingAction final : public Action {
 public:
  RoundingAction(const RowRounding& rounding, uint64_t seed) : rounding_(rounding), seed_(seed) {}

  std::string label() const override { return "roundings, drawn"; }

  void run(const KernelArgs& args, Part part) override {
    const View& view = args.in[0];
    const Part::Range rows = part.of(view.rows);
    const auto first = static_cast<uint64_t>((args.position + args.block_rows) * 0x10000 - view.rows);
    for (int64_t r = rows.begin; r < rows.end; ++r)
      round(std::span(view.row(r), static_cast<size_t>(view.cols)), first + static_cast<uint64_t>(r));
  }

 private:
  /// Block by block: the step of one is known before its values move.
  void round(std::span<float> row, uint64_t number) const {
    constexpr size_t kBlock = 32;
    const double rms = root_mean_square(row);
    Signs signs(seed_ + number * 0xd1342543de82ef95u);
    for (size_t begin = 0; begin < row.size(); begin += kBlock) {
      const std::span<float> block = row.subspan(begin, std::min(kBlock, row.size() - begin));
      const double step = half_step(block);
      for (float& x : block) {
        const double sign = signs.next();
        if (!std::isfinite(x)) continue;  // a masked score
        x = static_cast<float>(x + sign * std::sqrt(own(x, rms) + square(std::max(step, half_ulp(x)))));
      }
    }
  }

  static double square(double x) { return x * x; }

  static double root_mean_square(std::span<const float> row) {
    double squares = 0;
    int64_t count = 0;
    for (const float x : row) {
      if (!std::isfinite(x)) continue;
      squares += square(x);
      ++count;
    }
    return count == 0 ? 0 : std::sqrt(squares / static_cast<double>(count));
  }

  /// Squared: of f32 sums in any order (numerics/bounds.h, the terms' squares taken as the row's), or of four
  /// roundings.
  double own(double x, double rms) const {
    const double n = static_cast<double>(rounding_.terms);
    if (rounding_.terms == 0) return square(4 * bounds::kU * x);
    return square(bounds::kU) * bounds::any_order_energy(x, square(rms), n);
  }

  double half_ulp(double x) const {
    return std::abs(x) * std::max(unit(rounding_.result), unit(rounding_.input));
  }

  double half_step(std::span<const float> block) const {
    if (!is_block(rounding_.input)) return 0;
    double most = 0;
    for (const float x : block) most = std::max(most, std::abs(static_cast<double>(x)));
    return std::isfinite(most) ? most / 254 : 0;
  }

  /// Of a format coarser than f32, whose roundings own() counts.
  static double unit(Format format) { return format == Format::f32 ? 0 : bounds::unit_roundoff(format); }

  RowRounding rounding_;
  uint64_t seed_;
};

/// How many terms an element of the op's result has; 0: no sum.
int64_t terms_of(const Op& op, const KernelCall& call) {
  if (is_kind(op, OpKind::matmul)) return call.weight->k;
  if (is_kind(op, OpKind::qk) || is_kind(op, OpKind::pv)) return call.params.head_dim;
  return 0;
}

}  // namespace

std::span<const Precision> precisions() { return kPrecisions; }

void add_rounding(PlanEdit& edit, const Precision& precision, uint64_t seed) {
  std::set<BufferId> multiplied;
  for (const Op& op : edit.ops()) {
    if (is_kind(op, OpKind::matmul)) multiplied.insert(op.reads.front());
  }
  uint64_t draw = seed << 20;
  for (const Op& op : edit.ops()) {
    const KernelCall* call = kernel_call(op);
    if (call == nullptr || !op.makes || op.writes == kNoBuffer || is_kind(op, OpKind::embed)) continue;
    const RowRounding rounding{terms_of(op, *call), precision.result,
                               multiplied.contains(op.writes) ? precision.input : Format::f32};
    edit.after(op,
               {.layer = op.layer,
                .call = ActionCall{std::make_shared<RoundingAction>(rounding, draw++ * 0x2545f4914f6cdd1du)},
                .reads = {op.writes},
                .writes = op.writes});
  }
}

}  // namespace greta
