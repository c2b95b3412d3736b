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
  WeightTile(const WeightRows& weight, bool in_parts, double code_offset, const Roundings& roundings)
      : weight_(weight),
        format_(roundings.weight),
        flushed_below_(flushed_below(roundings.unit)),
        group_(in_parts ? weight.scale_group() : 0),
        code_offset_(in_parts ? code_offset : 0),
        row_(static_cast<size_t>(weight.length())) {
    if (!in_parts) {
      weights_.resize(row_.size() * kLanes);
      return;
    }
    row_scale_.resize(row_.size() / kScaleGroup);
    codes_.resize(row_.size() * kLanes);
    scale_.resize(row_.size() / static_cast<size_t>(group_) * kLanes);
    if (!weight.has_offset()) return;
    row_offset_.resize(row_scale_.size());
    offset_.resize(scale_.size());
  }

  void load(int64_t first) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const bool exists = first + lane < weight_.rows();
      if (in_parts()) {
        exists ? weight_.decode_parts(first + lane, {row_.data(), row_scale_.data(), row_offset_.data()})
               : clear_row();
        scatter_parts(lane);
      } else {
        exists ? weight_.decode(first + lane, row_.data()) : clear_row();
        round_weights(row_);
        for (int64_t i = 0; i < length(); ++i) weights_[at(i, lane)] = row_[static_cast<size_t>(i)];
      }
    }
  }

  UnitOperand of_unit(double smallest) {
    bits_.set(weights_, smallest);
    return bits_.of(weights_.data());
  }

  bool in_parts() const { return group_ != 0; }
  bool has_offset() const { return !offset_.empty(); }
  /// Of codes whose offset the kernels subtract apart from their products.
  double code_offset() const { return code_offset_; }
  int64_t length() const { return weight_.length(); }
  int64_t group() const { return group_; }
  const double* weights() const { return weights_.data(); }
  BlockTerms terms() const {
    return {codes_.data(), scale_.data(), has_offset() ? offset_.data() : nullptr, length(), group_};
  }
  /// A weight, without its minimum or with it.
  double scaled(int64_t i, int64_t lane) const {
    return in_parts() ? codes_[code_at(i, lane)] * scale_[at(i / group_, lane)] : weights_[at(i, lane)];
  }
  double offset(int64_t group, int64_t lane) const { return has_offset() ? offset_[at(group, lane)] : 0; }
  double weight(int64_t i, int64_t lane) const {
    return in_parts() ? scaled(i, lane) + offset(i / group_, lane) : scaled(i, lane);
  }

 private:
  static size_t at(int64_t i, int64_t lane) { return static_cast<size_t>(i * kLanes + lane); }
  static size_t code_at(int64_t i, int64_t lane) {
    return static_cast<size_t>(i / 2 * 2 * kLanes + lane * 2 + i % 2);
  }

  void clear_row() {
    for (std::vector<double>* part : {&row_, &row_scale_, &row_offset_}) std::ranges::fill(*part, 0);
  }

  void scatter_parts(int64_t lane) {
    int16_t* to = codes_.data() + code_at(0, lane);
    for (size_t i = 0; i < row_.size(); i += 2, to += 2 * kLanes) {
      to[0] = static_cast<int16_t>(row_[i]);
      to[1] = static_cast<int16_t>(row_[i + 1]);
    }
    for (int64_t g = 0; g < length() / group_; ++g) {
      const size_t from = static_cast<size_t>(g * group_ / kScaleGroup);
      scale_[at(g, lane)] = row_scale_[from];
      if (has_offset()) offset_[at(g, lane)] = row_offset_[from];
    }
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
  double code_offset_;
  std::vector<double> row_, row_scale_, row_offset_, weights_, scale_, offset_;
  std::vector<int16_t> codes_;
  UnitBits bits_;
};

struct Input {
  std::vector<ActivationRow> rows;
  std::vector<const double*> pointers;
  // Of products in blocks, per row and group of weights.
  std::vector<std::vector<double>> group_scales, group_sums, group_spreads;
  std::vector<BlockRow> blocks;
};

/// Of codes that are stored with an offset, what it contributes to interleaved sums, in squared codes: spread
/// over them it is in other lanes than where sums of groups take it away (docs/numerics.md, "q6_K").
std::vector<double> spread_of(const ActivationRow& row, size_t group, double offset) {
  std::vector<double> spread;
  for (size_t begin = 0; begin < row.codes.size(); begin += group) {
    double sum = 0, squares = 0;
    for (size_t i = begin; i < begin + group; ++i) {
      const double code = row.codes[i];
      sum += code;
      squares += code * code;
    }
    spread.push_back(offset * offset * (2 * squares + sum * sum));
  }
  return spread;
}

void add_blocks(Input& input, const ActivationRow& row, const WeightTile& tile) {
  const size_t group = static_cast<size_t>(tile.group());
  std::vector<double>& scales = input.group_scales.emplace_back(row.value.size() / group);
  for (size_t g = 0; g < scales.size(); ++g) scales[g] = row.scales[g * group / kActivationBlock];
  if (tile.code_offset() != 0) input.group_spreads.push_back(spread_of(row, group, tile.code_offset()));
  if (!tile.has_offset()) return;
  std::vector<double>& sums = input.group_sums.emplace_back(scales.size());
  for (size_t i = 0; i < row.value.size(); ++i) sums[i / group] += row.value[i];
  if (!row.sums.empty() && group == kActivationBlock) sums = row.sums;
}

Input round_input(std::span<const float> x, const WeightTile& tile, const Roundings& roundings) {
  Input input;
  const size_t k = static_cast<size_t>(tile.length());
  for (size_t begin = 0; begin < x.size(); begin += k) {
    input.rows.push_back(round_activations(x.subspan(begin, k), roundings.activation, roundings.rotation));
    flush(input.rows.back().value, flushed_below(roundings.unit));
    if (tile.in_parts()) add_blocks(input, input.rows.back(), tile);
  }
  for (size_t r = 0; r < input.rows.size(); ++r) {
    input.pointers.push_back(input.rows[r].value.data());
    if (!tile.in_parts()) continue;
    input.blocks.push_back({input.rows[r].codes.data(), input.group_scales[r].data(),
                            tile.has_offset() ? input.group_sums[r].data() : nullptr,
                            tile.code_offset() != 0 ? input.group_spreads[r].data() : nullptr});
  }
  return input;
}

/// How often, and of what, the contract rounds: docs/numerics.md, "Matrix products".
struct ChainModel {
  double steps;           // terms of the sum
  double passes;          // additions to the accumulator per term
  double term_roundings;  // roundings of one term before it is added
  bool in_blocks;         // terms are whole blocks
  bool apart;             // minima may be summed by a chain of their own
  double super_blocks;    // interleaved sums have a term of each
};

ChainModel chain_model(const Tensor& weight, const WeightRows& rows, const WeightTile& tile,
                       Format activation) {
  const double offsets = rows.has_offset() ? 1 : 0;
  const double k = static_cast<double>(rows.length());
  if (tile.in_parts()) {
    // Ours adds a block's two terms in turn; ggml's kernels join two sums at the end.
    const bool apart = rows.has_offset() && activation != Format::q8_block32;
    return {k / static_cast<double>(tile.group()) * (1 + offsets),
            1,
            bounds::kBlockTermRoundings,
            true,
            apart,
            k / static_cast<double>(kSuperBlock)};
  }
  // A bf16 unit takes an f16 weight as two bf16 numbers, high and low part, and adds their products in turn.
  const bool two_parts = weight.type == TensorType::f16 && activation == Format::bf16;
  return {k, two_parts ? 2.0 : 1.0, 1 + offsets, false, false, 0};
}

/// Energy of the partial sums when the sum begins with a bias: each is larger by it at most (Minkowski).
double with_bias(double energy, double steps, double bias) {
  return bias == 0 ? energy : std::pow(std::sqrt(energy) + std::sqrt(steps) * std::abs(bias), 2);
}

double bound_of(const LaneSums& sums, int64_t lane, double bias, const ChainModel& model,
                const Roundings& roundings) {
  const double u = bounds::unit_roundoff(roundings.accumulator);
  const double any_order = bounds::any_order_energy(sums.sum[lane], sums.squares[lane], model.steps);
  const double energy = std::max(
      {sums.energy[lane], model.apart ? sums.apart[lane] : 0, model.super_blocks / 2 * sums.spread[lane]});
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
  if (tile.in_parts()) {
    chain_blocks(tile.terms(), input.blocks, sums.data());
  } else {
    chain_products(tile.weights(), input.pointers, tile.length(), sums.data());
  }
}

using Lanes = std::array<double, kLanes>;

/// What a correct kernel may choose otherwise: codes at a tie, and the sums beside blocks.
Lanes choices_of(const ActivationRow& row, const WeightTile& tile) {
  const bool own_sums = tile.has_offset() && !row.sums.empty();
  Lanes bound{};
  for (const NearTie& tie : row.ties) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      const double weight = own_sums ? tile.scaled(tie.index, lane) : tile.weight(tie.index, lane);
      bound[static_cast<size_t>(lane)] += std::abs(weight) * tie.step;
    }
  }
  for (size_t g = 0; own_sums && g < row.sums.size(); ++g) {
    for (int64_t lane = 0; lane < kLanes; ++lane)
      bound[static_cast<size_t>(lane)] +=
          std::abs(tile.offset(static_cast<int64_t>(g), lane)) * row.sum_errors[g];
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

void demand_shapes(const Tensor& weight, const WeightRows& rows, std::span<const float> x, int64_t count,
                   const Tensor* bias) {
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

Expected matmul(const Tensor& weight, std::span<const float> x, int64_t rows, const Roundings& roundings,
                const Tensor* bias, double scale) {
  const WeightRows weight_rows(weight);
  demand_shapes(weight, weight_rows, x, rows, bias);
  const int64_t n = weight_rows.rows();
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
  // ggml's kernel multiplies q6_K's codes as they are stored, 0 to 63.
  const double code_offset = weight.type == TensorType::q6_k && format == Format::q8_k ? 32 : 0;
  WeightTile tile(weight_rows, in_blocks, code_offset, roundings);
  const Input input = round_input(x, tile, roundings);
  const ChainModel model = chain_model(weight, weight_rows, tile, roundings.activation);
  const Product product{input, tile, bias_values, model, roundings, n, scale};

  Expected expected;
  expected.value.resize(static_cast<size_t>(rows * n));
  expected.bound.resize(expected.value.size());
  if (has_known_cuts(roundings)) {
    const UnitRule rule(*roundings.unit, roundings.splits, roundings.slice);
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
