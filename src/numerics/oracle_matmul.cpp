#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/half.h"
#include "numerics/activation.h"
#include "numerics/bounds.h"
#include "numerics/dequant.h"
#include "numerics/lane_chain.h"
#include "numerics/oracle.h"
#include "numerics/unit_chain.h"
#include "numerics/weight_rows.h"
#include "units/instruction.h"

namespace greta::oracle {
namespace {

constexpr double kUnbounded = std::numeric_limits<double>::infinity();

/// Below it a unit that flushes reads zeros.
double flushed_below(const units::Instruction* unit) {
  return unit != nullptr && unit->flush ? std::ldexp(1.0, units::info(unit->a).min_exponent) : 0;
}

void flush(std::vector<double>& values, double smallest) {
  for (double& value : values) {
    if (std::abs(value) < smallest) value = 0;
  }
}

/// What a matrix unit aligns and cuts values by.
struct UnitBits {
  std::vector<double> power = {}, bit = {};

  void set(const std::vector<double>& values, double smallest) {
    power.clear();
    bit.clear();
    for (const double x : values) {
      power.push_back(power_below(x, smallest));
      bit.push_back(lowest_bit(x));
    }
  }
  UnitOperand of(const double* values) const { return {values, power.data(), bit.data()}; }
};

/// Eight weight rows, decoded and transposed: lanes are output elements.
/// Lanes beyond the last row hold zeros.
class WeightTile {
 public:
  WeightTile(const WeightRows& weight, bool in_parts, const Roundings& roundings)
      : weight_(weight),
        format_(roundings.weight),
        flushed_below_(flushed_below(roundings.unit)),
        group_(in_parts ? weight.scale_group() : 0),
        row_(static_cast<size_t>(weight.length())),
        scaled_(row_.size() * kLanes) {
    if (in_parts && weight.has_offset()) {
      row_offset_.resize(row_.size() / kOffsetGroup);
      offset_.resize(row_.size() / static_cast<size_t>(group_) * kLanes);
    }
  }

  void load(int64_t first) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      if (first + lane >= weight_.rows()) {
        for (size_t i = static_cast<size_t>(lane); i < scaled_.size(); i += kLanes) scaled_[i] = 0;
        for (size_t i = static_cast<size_t>(lane); i < offset_.size(); i += kLanes) offset_[i] = 0;
      } else if (in_parts()) {
        weight_.decode_parts(first + lane, row_.data(), row_offset_.data());
        scatter(row_.data(), weight_.length(), 1, lane, scaled_.data());
        if (!offset_.empty()) {
          scatter(row_offset_.data(), weight_.length() / group_, group_ / kOffsetGroup, lane, offset_.data());
        }
      } else {
        weight_.decode(first + lane, row_.data());
        round_weights(row_);
        scatter(row_.data(), weight_.length(), 1, lane, scaled_.data());
      }
    }
  }

  UnitOperand of_unit(double smallest) {
    bits_.set(scaled_, smallest);
    return bits_.of(scaled_.data());
  }

  bool in_parts() const { return group_ != 0; }
  int64_t length() const { return weight_.length(); }
  int64_t group() const { return group_; }
  const double* scaled() const { return scaled_.data(); }
  const double* offset() const { return offset_.empty() ? nullptr : offset_.data(); }
  double scaled(int64_t i, int64_t lane) const { return scaled_[static_cast<size_t>(i * kLanes + lane)]; }
  double weight(int64_t i, int64_t lane) const {
    return offset_.empty() ? scaled(i, lane)
                           : scaled(i, lane) + offset_[static_cast<size_t>(i / group_ * kLanes + lane)];
  }

 private:
  static void scatter(const double* from, int64_t count, int64_t stride, int64_t lane, double* to) {
    for (int64_t i = 0; i < count; ++i) to[i * kLanes + lane] = from[i * stride];
  }

  /// As a kernel does it: decoded to f32 first.
  void round_weights(std::vector<double>& row) const {
    if (format_ == Format::f32) return;
    for (double& w : row) {
      const float single = static_cast<float>(w);
      w = static_cast<double>(format_ == Format::bf16 ? bf16_to_f32(f32_to_bf16(single))
                                                      : f16_to_f32(f32_to_f16(single)));
    }
    flush(row, flushed_below_);
  }

  const WeightRows& weight_;
  Format format_;
  double flushed_below_;
  int64_t group_;  // of chain_blocks; 0 when the rows are decoded whole
  std::vector<double> row_, row_offset_, scaled_, offset_;
  UnitBits bits_;
};

struct Input {
  std::vector<ActivationRow> rows;
  std::vector<std::vector<double>> group_sums;  // of quantised products with minima
  std::vector<const double*> pointers, group_sum_pointers;
};

Input round_input(std::span<const float> x, int64_t k, const Roundings& roundings, int64_t sum_group) {
  Input input;
  for (size_t begin = 0; begin < x.size(); begin += static_cast<size_t>(k)) {
    input.rows.push_back(round_activations(x.subspan(begin, static_cast<size_t>(k)), roundings.activation,
                                           roundings.rotation));
    flush(input.rows.back().value, flushed_below(roundings.unit));
    const std::vector<double>& value = input.rows.back().value;
    if (sum_group == 0) continue;
    std::vector<double>& sums = input.group_sums.emplace_back(static_cast<size_t>(k / sum_group));
    const std::vector<double>& own = input.rows.back().sums;
    for (int64_t i = 0; i < k; ++i) sums[static_cast<size_t>(i / sum_group)] += value[static_cast<size_t>(i)];
    if (!own.empty() && sum_group == kActivationBlock) sums = own;
  }
  for (const ActivationRow& row : input.rows) input.pointers.push_back(row.value.data());
  for (const std::vector<double>& sums : input.group_sums) input.group_sum_pointers.push_back(sums.data());
  return input;
}

/// How often, and of what, the contract rounds: docs/numerics.md, "Matrix products".
struct ChainModel {
  double steps;           // terms of the sum
  double passes;          // additions to the accumulator per term
  double term_roundings;  // roundings of one term before it is added
  bool in_blocks;         // terms are whole blocks
  bool apart;             // minima may be summed by a chain of their own
};

ChainModel chain_model(const GgufTensor& weight, const WeightRows& rows, const WeightTile& tile,
                       Format activation) {
  const double offsets = rows.has_offset() ? 1 : 0;
  const double k = static_cast<double>(rows.length());
  if (tile.in_parts()) {
    // Ours adds a block's two terms in turn; ggml's kernels join two sums at the end.
    const bool apart = rows.has_offset() && activation != Format::q8_block32;
    return {k / static_cast<double>(tile.group()) * (1 + offsets), 1, bounds::kBlockTermRoundings, true,
            apart};
  }
  // A bf16 unit takes an f16 weight as two bf16 numbers, high and low part, and adds their products in turn.
  const bool two_parts = weight.type == TensorType::f16 && activation == Format::bf16;
  return {k, two_parts ? 2.0 : 1.0, 1 + offsets, false, false};
}

/// Energy of the partial sums when the sum begins with a bias: each is larger by it at most (Minkowski).
double with_bias(double energy, double steps, double bias) {
  return bias == 0 ? energy : std::pow(std::sqrt(energy) + std::sqrt(steps) * std::abs(bias), 2);
}

double bound_of(const LaneSums& sums, int64_t lane, double bias, const ChainModel& model,
                const Roundings& roundings) {
  const double u = bounds::unit_roundoff(roundings.accumulator);
  const double any_order = bounds::any_order_energy(sums.sum[lane], sums.squares[lane], model.steps);
  const double energy = std::max(sums.energy[lane], model.apart ? sums.apart[lane] : 0);
  const double partial = with_bias(std::max(energy, any_order), model.steps, bias);
  // Terms are rounded by f32 operations whatever the accumulator is.
  const double scale = u > 0 ? bounds::kU / u : 0;
  const double terms = model.term_roundings * scale * scale * sums.squares[lane];
  const double count = model.steps * (model.passes + model.term_roundings);
  // No partial sum is larger.
  if (std::sqrt(partial) >= bounds::overflow(roundings.accumulator)) return kUnbounded;
  // Only a product of blocks has a product of scales to round.
  const double scales = model.in_blocks ? bounds::unit_roundoff(roundings.between) : 0;
  const double of_scales =
      scales > bounds::kU ? bounds::accumulated(2 * sums.squares[lane], 2 * model.steps, scales) : 0;
  return bounds::accumulated(model.passes * partial + terms, count, u) + of_scales +
         model.passes * model.steps * bounds::underflow(roundings.accumulator);
}

struct Product {
  const Input& input;
  const WeightTile& tile;
  const std::vector<double>& bias;  // empty or one per output
  ChainModel model;
  Roundings roundings;
  int64_t n;
  double scale;
};

/// The eight lanes of the tile, for every input row.
void sum_tile(const Product& product, std::vector<LaneSums>& sums) {
  const WeightTile& tile = product.tile;
  const Input& input = product.input;
  if (!tile.in_parts()) {
    chain_products(tile.scaled(), input.pointers, tile.length(), sums.data());
    return;
  }
  const BlockTerms terms{tile.scaled(), tile.offset(), tile.length(), tile.group()};
  chain_blocks(terms, input.pointers, input.group_sum_pointers, sums.data());
}

using Lanes = std::array<double, kLanes>;

/// What a correct kernel may choose otherwise: codes at a tie, and the sums beside blocks.
Lanes choices_of(const ActivationRow& row, const WeightTile& tile) {
  const bool own_sums = tile.offset() != nullptr && !row.sums.empty();
  Lanes bound{};
  for (const NearTie& tie : row.ties) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double weight = own_sums ? tile.scaled(tie.index, lane) : tile.weight(tie.index, lane);
      bound[static_cast<size_t>(lane)] += std::abs(weight) * tie.step;
    }
  }
  for (size_t g = 0; own_sums && g < row.sums.size(); ++g) {
    const double* offset = tile.offset() + g * kLanes;
    for (size_t lane = 0; lane < kLanes; ++lane) bound[lane] += std::abs(offset[lane]) * row.sum_errors[g];
  }
  return bound;
}

void store_tile(const Product& product, int64_t first, const std::vector<LaneSums>& sums,
                Expected& expected) {
  const int64_t lanes = std::min(kLanes, product.n - first);
  for (size_t r = 0; r < sums.size(); ++r) {
    const Lanes choices = choices_of(product.input.rows[r], product.tile);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      double value = sums[r].sum[lane];
      const double bias = product.bias.empty() ? 0 : product.bias[static_cast<size_t>(first + lane)];
      double bound = bound_of(sums[r], lane, bias, product.model, product.roundings);
      bound += choices[static_cast<size_t>(lane)];
      value += bias;
      if (bias != 0) bound += bounds::kU * std::abs(value);  // where it is added last
      if (product.scale != 1) {
        bound += bounds::store(value, product.roundings.accumulator, product.roundings.output);
        value *= product.scale;
        bound = bound * std::abs(product.scale) + 2 * bounds::kU * std::abs(value);
      }
      const size_t at = r * static_cast<size_t>(product.n) + static_cast<size_t>(first + lane);
      expected.value[at] = value;
      expected.bound[at] =
          bound + bounds::store(value, product.roundings.accumulator, product.roundings.output);
    }
  }
}

void demand_shapes(const GgufTensor& weight, const WeightRows& rows, std::span<const float> x, int64_t count,
                   const GgufTensor* bias) {
  if (count < 0 || static_cast<int64_t>(x.size()) != count * rows.length()) {
    fail_input("{}: {} input values do not make {} rows of {}", weight.name, x.size(), count, rows.length());
  }
  if (bias != nullptr && static_cast<int64_t>(bias->dims[0]) != rows.rows()) {
    fail_input("{}: bias has {} elements where the weight has {} rows", bias->name, bias->dims[0],
               rows.rows());
  }
}

/// Truncating and flooring units, whose roundings' intervals are known (docs/numerics.md, "Matrix units").
bool has_known_cuts(const Roundings& roundings) {
  return roundings.unit != nullptr && roundings.unit->fraction_bits > 0 && !is_block(roundings.activation);
}

/// The product on a matrix unit: the value is what its roundings make of the sum in the mean.
class UnitProduct {
 public:
  UnitProduct(const Product& product, const UnitRule& rule, Expected& expected)
      : product_(product), rule_(rule), expected_(expected) {
    expected_.drift.resize(expected_.value.size());
    expected_.spread.resize(expected_.value.size());
    for (const ActivationRow& row : product.input.rows) bits_.emplace_back().set(row.value, rule.smallest_a);
  }

  void store_tile(WeightTile& tile, int64_t first) {
    const UnitOperand weights = tile.of_unit(rule_.smallest_b);
    const int64_t lanes = std::min(kLanes, product_.n - first);
    UnitSums sums;
    std::array<double, kLanes> start{};
    if (!product_.bias.empty()) std::copy_n(product_.bias.begin() + first, lanes, start.begin());
    for (size_t r = 0; r < bits_.size(); ++r) {
      chain_unit(rule_, weights, bits_[r].of(product_.input.pointers[r]), start.data(), tile.length(), sums);
      for (int64_t lane = 0; lane < lanes; ++lane) store(sums, r, first + lane, lane);
    }
  }

 private:
  void store(const UnitSums& sums, size_t r, int64_t column, int64_t lane) {
    const size_t at = r * static_cast<size_t>(product_.n) + static_cast<size_t>(column);
    double value = sums.sum[lane] + sums.drift[lane];
    // One more cut: of a partial sum whose exponent rounding has moved, by a step, from the exact sum's.
    const double cut = sums.largest[lane] * rule_.cut_bit / 2;
    const double energy = sums.energy[lane] + cut * cut;
    double bound = bounds::kLambda * std::sqrt(energy) + own_error(sums.largest[lane]);
    double variance = energy / 3;  // uniform within its interval
    if (product_.scale != 1) {
      value *= product_.scale;
      const double rounded = bounds::kU * std::abs(value);  // of the scale, and of the product
      bound = bound * std::abs(product_.scale) + 2 * rounded;
      variance = variance * product_.scale * product_.scale + 2 * rounded * rounded / 3;
    }
    expected_.value[at] = value;
    expected_.bound[at] = bound;
    expected_.drift[at] = sums.drift[lane] * product_.scale;
    expected_.spread[at] = std::sqrt(variance);
  }

  /// Of this f64 sum itself.
  double own_error(double largest) const {
    const double k = static_cast<double>(product_.tile.length());
    return k * (0x1p-50 * largest + bounds::kTiny);
  }

  const Product& product_;
  const UnitRule& rule_;
  Expected& expected_;
  std::vector<UnitBits> bits_;  // of the rounded input rows
};

}  // namespace

Expected matmul(const GgufTensor& weight, std::span<const float> x, int64_t rows, const Roundings& roundings,
                const GgufTensor* bias, double scale) {
  const WeightRows weight_rows(weight);
  demand_shapes(weight, weight_rows, x, rows, bias);
  const int64_t n = weight_rows.rows(), k = weight_rows.length();
  std::vector<double> bias_values;
  if (bias != nullptr) {
    bias_values.resize(static_cast<size_t>(n));
    decode_row(*bias, 0, bias_values);
  }
  // Integer dot products see a block's scaled integers and its minimum apart.
  // Of q8_0 only the codes are known, not whether the kernel multiplies integers or their values.
  const Format format = roundings.activation;
  const bool apart = format == Format::q8_block32 || format == Format::q8_1 || format == Format::q8_1_sum ||
                     format == Format::q8_k;
  const bool in_blocks = apart && weight_rows.scale_group() != 0;
  WeightTile tile(weight_rows, in_blocks, roundings);
  const Input input = round_input(x, k, roundings, tile.offset() != nullptr ? tile.group() : 0);
  const ChainModel model = chain_model(weight, weight_rows, tile, roundings.activation);
  const Product product{input, tile, bias_values, model, roundings, n, scale};

  Expected expected;
  expected.value.resize(static_cast<size_t>(rows * n));
  expected.bound.resize(expected.value.size());
  if (has_known_cuts(roundings)) {
    const UnitRule rule(*roundings.unit, roundings.splits);
    UnitProduct on_unit(product, rule, expected);
    for (int64_t first = 0; first < n; first += kLanes) {
      tile.load(first);
      on_unit.store_tile(tile, first);
    }
    return expected;
  }
  std::vector<LaneSums> sums(static_cast<size_t>(rows));
  for (int64_t first = 0; first < n; first += kLanes) {
    tile.load(first);
    sum_tile(product, sums);
    store_tile(product, first, sums, expected);
  }
  return expected;
}

}  // namespace greta::oracle
