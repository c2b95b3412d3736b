#include "sim/matmul.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/half.h"
#include "kernels/math.h"
#include "sim/block.h"

namespace greta::sim {
namespace {

constexpr int64_t kLanes = kPanelRows;

struct Share {
  int64_t begin, end;  // panels
};

/// This part's panels; the launch is counted once.
Share start(const KernelArgs& args, Part part) {
  if (part.index == 0) {
    args.launch->kernel = args.kernel->name.c_str();
    ++args.launch->count;
  }
  const int64_t panels = args.weight->panels(), share = (panels + part.count - 1) / part.count;
  const int64_t begin = std::min(panels, share * part.index);
  return {begin, std::min(panels, begin + share)};
}

using Sums = std::array<float, kPanelRows>;

/// What the sums of a panel begin with.
Sums first_sums(const KernelArgs& args, int64_t panel) {
  Sums sums{};
  if (args.bias != nullptr) std::copy_n(args.bias + panel * kLanes, kLanes, sums.begin());
  return sums;
}

/// One row of a panel's outputs.
void store(const KernelArgs& args, int64_t panel, int64_t row, const float* sums) {
  const int64_t lanes = std::min(kLanes, args.weight->n - panel * kLanes);
  float* out = args.out.row(row) + panel * kLanes;
  const float scale = args.params.scale, cap = args.params.cap;
  for (int64_t i = 0; i < lanes; ++i)
    out[i] = cap == 0 ? sums[i] * scale : math::tanh(sums[i] * scale / cap) * cap;
}

/// 16 output rows as [k][16] f32; lanes beyond the weight are 0.
class Panel {
 public:
  explicit Panel(const PackedWeight& weight)
      : weight_(weight),
        row_(static_cast<size_t>(weight.k)),
        lanes_(static_cast<size_t>(weight.k * kLanes)) {}

  const std::vector<float>& load(int64_t panel) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const int64_t row = panel * kLanes + lane;
      if (row < weight_.n) {
        unpack_row(weight_, row, row_.data());
      } else {
        std::fill(row_.begin(), row_.end(), 0.0f);
      }
      float* to = lanes_.data() + lane;
      for (const float w : row_) {
        *to = w;
        to += kLanes;
      }
    }
    return lanes_;
  }

 private:
  const PackedWeight& weight_;
  std::vector<float> row_, lanes_;
};

uint16_t bits_of(float x, Format format) { return format == Format::f16 ? f32_to_f16(x) : f32_to_bf16(x); }

/// A run of K that one chain of instructions sums:
/// [begin, end) of the weight's K, padded to whole instructions.
struct Slice {
  int64_t begin, end, padded;
};

/// K in runs of `length`, whole instructions.
std::vector<Slice> slices_of_length(int64_t k, int64_t step, int64_t length) {
  std::vector<Slice> slices;
  for (int64_t at = 0; at < k; at += length) {
    const int64_t end = std::min(k, at + length);
    slices.push_back({at, end, round_up(end - at, step)});
  }
  return slices;
}

/// K in `splits` runs of whole instructions, the first ones longer.
std::vector<Slice> slices_of(int64_t k, int64_t step, int64_t splits) {
  std::vector<Slice> slices;
  const int64_t steps = (k + step - 1) / step;
  int64_t at = 0;
  for (int64_t i = 0; i < std::min(splits, steps); ++i) {
    const int64_t count = steps / splits + (i < steps % splits ? 1 : 0);
    slices.push_back({at * step, std::min(k, (at + count) * step), count * step});
    at += count;
  }
  return slices;
}

/// The matrix unit over one slice of K: input rows, and the panel's columns, as the unit takes them.
class UnitSlice {
 public:
  UnitSlice(const KernelArgs& args, const Slice& slice)
      : roundings_(args.kernel->roundings), slice_(slice), rows_(args.out.rows), form_(best_form()) {
    std::vector<uint16_t> bits(static_cast<size_t>(rows_ * slice.padded));
    const bool rounded = args.in[0].format != Format::f32;
    for (int64_t row = 0; row < rows_; ++row) {
      const float* x = args.in[0].row(row);
      const uint16_t* x_bits = args.in[0].row<uint16_t>(row);
      for (int64_t k = slice.begin; k < slice.end; ++k)
        bits[static_cast<size_t>(row * slice.padded + k - slice.begin)] =
            rounded ? x_bits[k] : bits_of(x[k], roundings_.activation);
    }
    a_.assign(unit(), unit().a, bits.data(), std::ssize(bits), form_);
    panel_.resize(static_cast<size_t>(slice.padded * kLanes));
  }

  /// acc [rows, 16] = `first` (of 16 columns) and the products of the panel's columns.
  void multiply(const std::vector<float>& panel, const Sums& first, std::vector<float>& acc) {
    for (int64_t i = slice_.begin * kLanes; i < slice_.end * kLanes; ++i) {
      panel_[static_cast<size_t>(i - slice_.begin * kLanes)] =
          bits_of(panel[static_cast<size_t>(i)], roundings_.weight);
    }
    b_.assign(unit(), unit().b, panel_.data(), std::ssize(panel_), form_);
    acc.clear();
    for (int64_t row = 0; row < rows_; ++row) acc.insert(acc.end(), first.begin(), first.end());
    sim::multiply(unit(), form_, a_, b_, rows_, slice_.padded, acc.data(), kLanes);
  }

 private:
  const units::Instruction& unit() const { return *roundings_.unit; }

  const Roundings& roundings_;
  Slice slice_;
  int64_t rows_;
  Form form_;
  Operand a_, b_;
  std::vector<uint16_t> panel_;
};

/// The bias begins the first slice's chain, or the sum of all.
enum class BiasIn { chain, sum };

void run_matrix(const KernelArgs& args, Part part, const std::vector<Slice>& runs, BiasIn bias) {
  const Share mine = start(args, part);
  if (mine.begin == mine.end) return;
  std::vector<UnitSlice> slices;
  for (const Slice& slice : runs) slices.emplace_back(args, slice);
  Panel panel(*args.weight);
  std::vector<float> sum, own;
  for (int64_t p = mine.begin; p < mine.end; ++p) {
    const std::vector<float>& w = panel.load(p);
    const Sums first = first_sums(args, p);
    for (size_t i = 0; i < slices.size(); ++i) {
      slices[i].multiply(w, i == 0 && bias == BiasIn::chain ? first : Sums{}, own);
      if (i == 0 && bias == BiasIn::chain) {
        sum = own;
        continue;
      }
      if (i == 0) sum.assign(own.size(), 0);
      for (size_t j = 0; j < sum.size(); ++j) sum[j] = (i == 0 ? first[j % first.size()] : sum[j]) + own[j];
    }
    for (int64_t row = 0; row < args.out.rows; ++row) store(args, p, row, sum.data() + row * kLanes);
  }
}

void run_splits(const KernelArgs& args, Part part, int64_t splits) {
  run_matrix(args, part, slices_of(args.weight->k, args.kernel->roundings.unit->k, splits), BiasIn::chain);
}

/// `product(x, w, k, sums)` for every panel of this part and every row.
template <class Product>
void run_vector(const KernelArgs& args, Part part, const Product& product) {
  const Share mine = start(args, part);
  Panel panel(*args.weight);
  for (int64_t p = mine.begin; p < mine.end; ++p) {
    const std::vector<float>& w = panel.load(p);
    for (int64_t row = 0; row < args.out.rows; ++row) {
      Sums sums = first_sums(args, p);
      product(args.in[0].row(row), w.data(), args.weight->k, sums);
      store(args, p, row, sums.data());
    }
  }
}

void fma_into(Sums& sums, float x, const float* w) {
  for (size_t n = 0; n < sums.size(); ++n) sums[n] = std::fma(x, w[n], sums[n]);
}

template <int kWave>
void run_wave(const KernelArgs& args, Part part) {
  run_vector(args, part, [](const float* x, const float* w, int64_t k, Sums& sums) {
    std::array<Sums, size_t{kWave}> lanes{};
    lanes[0] = sums;
    for (int64_t i = 0; i < k; ++i) fma_into(lanes[static_cast<size_t>(i % kWave)], x[i], w + i * kLanes);
    for (size_t half = kWave / 2; half > 0; half /= 2) {
      for (size_t lane = 0; lane < half; ++lane) {
        for (size_t n = 0; n < sums.size(); ++n) lanes[lane][n] += lanes[lane + half][n];
      }
    }
    sums = lanes[0];
  });
}

}  // namespace

void matrix_gemm(const KernelArgs& args, Part part) { run_splits(args, part, 1); }
void matrix_gemv(const KernelArgs& args, Part part) { run_splits(args, part, kGemvSplits); }
void matrix_slices(const KernelArgs& args, Part part) {
  const Roundings& roundings = args.kernel->roundings;
  run_matrix(args, part, slices_of_length(args.weight->k, roundings.unit->k, roundings.slice), BiasIn::sum);
}

void vector_gemm(const KernelArgs& args, Part part) {
  run_vector(args, part, [](const float* x, const float* w, int64_t k, Sums& sums) {
    for (int64_t i = 0; i < k; ++i) fma_into(sums, x[i], w + i * kLanes);
  });
}

void vector_gemv_wave64(const KernelArgs& args, Part part) { run_wave<64>(args, part); }
void vector_gemv_wave32(const KernelArgs& args, Part part) { run_wave<32>(args, part); }

}  // namespace greta::sim
