#pragma once
// Packed weights (kernels/pack.h) as one lane reads them: a weight row of its panel.

#include "kernels/gpu/lane.h"

namespace greta::gpu::GRETA_FORM {

/// The scales of a block of a weight row, as they are stored.
struct StoredScales {
  uint16_t d, m;
  uint8_t small[2];
};

/// d and m of each group of scales of a block; exact in f32: 11 bits times 8.
template <int kGroups>
struct Scales {
  float d[kGroups], m[kGroups];
};

template <TensorType kT>
struct BlockWeight {
  static constexpr BlockCode kCode = block_code(kT);
  static constexpr int kGroups = kCode.groups;
  static constexpr bool kHasMin = kCode.has_min;
  static constexpr int kLow = kCode.bits == 8 ? 8 : kCode.bits >= 4 ? 4 : 2;  // bits of the first plane
  /// Codes are multiplied as signed bytes. Those of 8 bits are moved to fit; of the others, the offset times
  /// the activations' sum is taken off the integer sum.
  static constexpr int kOffset = kCode.bits == 8 ? 0 : kCode.offset();

  static GRETA_DEVICE const std::byte* run_at(const std::byte* panel, int64_t block) {
    return panel + block / kCode.run() * kCode.run_bytes();
  }
  static GRETA_DEVICE const std::byte* codes_at(const std::byte* panel, int64_t block) {
    return run_at(panel, block) + kCode.scale_bytes() + block % kCode.run() * kCode.bytes();
  }

  /// Word g of a block, the codes of k = 4 g .. 4 g + 3 as bytes; plane(r) is the lane's word of row r of the
  /// block's planes.
  template <class Plane>
  static GRETA_DEVICE int word(int g, Plane plane) {
    uint32_t codes = field<kLow>(g, plane(g & (kLow - 1)));
    if constexpr (kCode.bits > kLow) {
      constexpr int kHigh = kCode.bits - kLow;
      codes |= field<kHigh>(g, plane(kLow + (g & (kHigh - 1)))) << kLow;
    }
    if constexpr (kCode.bits == 8) codes ^= 0x80808080u;
    return static_cast<int>(codes);
  }

  /// The rows of a block's planes, as the lane of weight row `row` reads them from memory.
  static GRETA_DEVICE auto planes(const std::byte* panel, int64_t block, int row) {
    const std::byte* codes = codes_at(panel, block) + 4 * row;
    return [codes](int r) { return load<uint32_t>(codes + 64 * r); };
  }

  /// `before`: those of an earlier block of the same run, if there are any: they have the same d and m.
  static GRETA_DEVICE StoredScales stored_scales(const std::byte* panel, int64_t block, int row,
                                                 const StoredScales* before = nullptr) {
    const std::byte* run = run_at(panel, block);
    const std::byte* small = run + kCode.head_bytes() + block % kCode.run() * kCode.small_bytes() + row;
    StoredScales stored{};
    if (before != nullptr) {
      stored.d = before->d, stored.m = before->m;
    } else {
      stored.d = load<uint16_t>(run + 2 * row);
      if constexpr (kHasMin) stored.m = load<uint16_t>(run + 32 + 2 * row);
    }
    if constexpr (kCode.small_bytes() > 0) stored.small[0] = load<uint8_t>(small);
    if constexpr (kCode.small_bytes() > 16) stored.small[1] = load<uint8_t>(small + 16);
    return stored;
  }

  static GRETA_DEVICE Scales<kGroups> decode(const StoredScales& stored) {
    const float d = half_to_float(stored.d);
    float m = 0;
    if constexpr (kHasMin) m = half_to_float(stored.m);
    Scales<kGroups> of{};
    for (int g = 0; g < kGroups; ++g) {
      const int small = stored.small[g];
      if constexpr (kCode.form == ScaleForm::halves) {
        of.d[g] = d, of.m[g] = m;
      } else if constexpr (kCode.form == ScaleForm::signed8) {
        of.d[g] = d * static_cast<float>(static_cast<int8_t>(small));
      } else if constexpr (kCode.form == ScaleForm::unsigned8) {
        of.d[g] = d * static_cast<float>(small);
        of.m[g] = -m * static_cast<float>(int{stored.small[1]});
      } else {
        of.d[g] = d * static_cast<float>(small & 15);
        of.m[g] = -m * static_cast<float>(small >> 4);
      }
    }
    return of;
  }
  static GRETA_DEVICE Scales<kGroups> scales(const std::byte* panel, int64_t block, int row) {
    return decode(stored_scales(panel, block, row));
  }

  /// The weight of byte `code` of a word: d (u - offset), or d u + m rounded once; d u is exact.
  static GRETA_DEVICE float value(int word, int byte, float d, float m) {
    const int code = static_cast<int8_t>(word >> (8 * byte)) - kOffset;
    return kHasMin ? __builtin_fmaf(static_cast<float>(code), d, m) : static_cast<float>(code) * d;
  }

 private:
  /// The fields of kWidth bits that word g has in its row of a plane, one in each byte.
  template <int kWidth>
  static GRETA_DEVICE uint32_t field(int g, uint32_t row) {
    return row >> (g & ~(kWidth - 1)) & ((1u << kWidth) - 1) * 0x01010101u;
  }
};

/// Weights without blocks: element k of a panel's row.
template <TensorType kT>
struct PlainWeight {
  static GRETA_DEVICE float value(const std::byte* panel, int64_t k, int row) {
    if constexpr (kT == TensorType::f32) return load<float>(panel + (k * kPanelRows + row) * 4);
    if constexpr (kT == TensorType::f16) {
      return half_to_float(load<uint16_t>(panel + (k * kPanelRows + row) * 2));
    } else {
      const uint32_t pair = load<uint32_t>(panel + (k / 2 * kPanelRows + row) * 4);
      return __builtin_bit_cast(float, k % 2 == 0 ? pair << 16 : pair & 0xffff0000u);
    }
  }
};

}  // namespace greta::gpu::GRETA_FORM
