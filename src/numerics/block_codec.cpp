#include "numerics/block_codec.h"

#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "base/half.h"

namespace greta {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF blocks are little-endian");

uint16_t u16(const uint8_t* bytes) { return static_cast<uint16_t>(bytes[0] | bytes[1] << 8); }
double half(const uint8_t* bytes) { return f16_to_f32(u16(bytes)); }

void decode_f32(const uint8_t* block, const Parts& to) {
  float value;
  std::memcpy(&value, block, sizeof value);
  to.code[0] = value;
}

void decode_f16(const uint8_t* block, const Parts& to) { to.code[0] = half(block); }

void decode_bf16(const uint8_t* block, const Parts& to) { to.code[0] = bf16_to_f32(u16(block)); }

// --- 32-element blocks. Nibble i of the low halves is element i, of the high halves element 16 + i. ---

void decode_q4_0(const uint8_t* block, const Parts& to) {
  to.scale[0] = to.scale[1] = half(block);
  const uint8_t* q = block + 2;
  for (int i = 0; i < 16; ++i) {
    to.code[i] = (q[i] & 15) - 8;
    to.code[16 + i] = (q[i] >> 4) - 8;
  }
}

void decode_q4_1(const uint8_t* block, const Parts& to) {
  to.scale[0] = to.scale[1] = half(block);
  to.offset[0] = to.offset[1] = half(block + 2);
  const uint8_t* q = block + 4;
  for (int i = 0; i < 16; ++i) {
    to.code[i] = q[i] & 15;
    to.code[16 + i] = q[i] >> 4;
  }
}

/// Fifth bits of a q5 block: bit i of the 32-bit word belongs to element i.
uint32_t fifth_bits(const uint8_t* bytes) {
  uint32_t word;
  std::memcpy(&word, bytes, sizeof word);
  return word;
}

int five_bits(int nibble, uint32_t high, int i) { return nibble | static_cast<int>(((high >> i) & 1u) << 4); }

void decode_q5_0(const uint8_t* block, const Parts& to) {
  to.scale[0] = to.scale[1] = half(block);
  const uint32_t high = fifth_bits(block + 2);
  const uint8_t* q = block + 6;
  for (int i = 0; i < 16; ++i) {
    to.code[i] = five_bits(q[i] & 15, high, i) - 16;
    to.code[16 + i] = five_bits(q[i] >> 4, high, 16 + i) - 16;
  }
}

void decode_q5_1(const uint8_t* block, const Parts& to) {
  to.scale[0] = to.scale[1] = half(block);
  to.offset[0] = to.offset[1] = half(block + 2);
  const uint32_t high = fifth_bits(block + 4);
  const uint8_t* q = block + 8;
  for (int i = 0; i < 16; ++i) {
    to.code[i] = five_bits(q[i] & 15, high, i);
    to.code[16 + i] = five_bits(q[i] >> 4, high, 16 + i);
  }
}

void decode_q8_0(const uint8_t* block, const Parts& to) {
  to.scale[0] = to.scale[1] = half(block);
  for (int i = 0; i < 32; ++i) to.code[i] = static_cast<int8_t>(block[2 + i]);
}

/// The 16 levels of iq4_nl and iq4_xs.
constexpr std::array<int8_t, 16> kIq4Levels{-127, -104, -83, -65, -49, -35, -22, -10,
                                            1,    13,   25,  38,  53,  69,  89,  113};

void decode_iq4_nl(const uint8_t* block, const Parts& to) {
  to.scale[0] = to.scale[1] = half(block);
  const uint8_t* q = block + 2;
  for (int i = 0; i < 16; ++i) {
    to.code[i] = kIq4Levels[q[i] & 15];
    to.code[16 + i] = kIq4Levels[q[i] >> 4];
  }
}

/// OCP microscaling: an 8-bit exponent (bias 127) and e2m1 elements, here doubled to be integers.
void decode_mxfp4(const uint8_t* block, const Parts& to) {
  constexpr std::array<int8_t, 16> kTwiceE2m1{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  to.scale[0] = to.scale[1] = std::ldexp(0.5, block[0] - 127);
  const uint8_t* q = block + 1;
  for (int i = 0; i < 16; ++i) {
    to.code[i] = kTwiceE2m1[q[i] & 15];
    to.code[16 + i] = kTwiceE2m1[q[i] >> 4];
  }
}

// --- 256-element super-blocks: sub-blocks of 16 or 32 elements with small integer scales. ---

void decode_q2_k(const uint8_t* block, const Parts& to) {
  const uint8_t* scales = block;  // low nibble: scale, high nibble: minimum, per 16 elements
  const uint8_t* q = block + 16;
  const double d = half(block + 80);
  const double d_min = half(block + 82);
  for (int i = 0; i < 256; ++i) {
    const int byte = i / 128 * 32 + i % 32;
    const int shift = i % 128 / 32 * 2;
    to.code[i] = (q[byte] >> shift) & 3;
  }
  for (int g = 0; g < 16; ++g) {
    to.scale[g] = d * (scales[g] & 15);
    to.offset[g] = -(d_min * (scales[g] >> 4));
  }
}

void decode_q3_k(const uint8_t* block, const Parts& to) {
  const uint8_t* high = block;  // bit set: nothing is subtracted
  const uint8_t* q = block + 32;
  // 16 scales of 6 bits: 4 low bits in bytes 0-7, 2 high bits in bytes 8-11.
  const uint8_t* packed = block + 96;
  const double d = half(block + 108);
  for (int g = 0; g < 16; ++g) {
    const int low4 = g < 8 ? packed[g] & 15 : packed[g - 8] >> 4;
    const int high2 = (packed[8 + g % 4] >> (2 * (g / 4))) & 3;
    to.scale[g] = d * ((low4 | high2 << 4) - 32);
  }
  for (int i = 0; i < 256; ++i) {
    const int byte = i / 128 * 32 + i % 32;
    const int low2 = (q[byte] >> (i % 128 / 32 * 2)) & 3;
    const int third = (high[i % 32] >> (i / 32)) & 1;
    to.code[i] = low2 - (third ? 0 : 4);
  }
}

struct ScaleMin {
  int scale, min;
};

/// The eight 6-bit (scale, minimum) pairs of q4_k and q5_k in 12 bytes.
ScaleMin six_bit_pair(const uint8_t* packed, int g) {
  if (g < 4) return {packed[g] & 63, packed[4 + g] & 63};
  const int i = g - 4;
  return {(packed[8 + i] & 15) | (packed[i] >> 6) << 4, (packed[8 + i] >> 4) | (packed[4 + i] >> 6) << 4};
}

/// q4_k, and with `high` (32 bytes of fifth bits) q5_k.
void decode_k45(const uint8_t* block, const uint8_t* high, const uint8_t* q, const Parts& to) {
  const double d = half(block);
  const double d_min = half(block + 2);
  for (int g = 0; g < 8; ++g) {
    const ScaleMin pair = six_bit_pair(block + 4, g);
    to.scale[2 * g] = to.scale[2 * g + 1] = d * pair.scale;
    to.offset[2 * g] = to.offset[2 * g + 1] = -(d_min * pair.min);
    for (int i = 0; i < 32; ++i) {
      const int nibble = (q[g / 2 * 32 + i] >> (g % 2 * 4)) & 15;
      const int fifth = high == nullptr ? 0 : ((high[i] >> g) & 1) << 4;
      to.code[32 * g + i] = nibble | fifth;
    }
  }
}

void decode_q4_k(const uint8_t* block, const Parts& to) { decode_k45(block, nullptr, block + 16, to); }

void decode_q5_k(const uint8_t* block, const Parts& to) { decode_k45(block, block + 16, block + 48, to); }

void decode_q6_k(const uint8_t* block, const Parts& to) {
  const uint8_t* low = block;
  const uint8_t* high = block + 128;
  const uint8_t* scales = block + 192;  // int8, per 16 elements
  const double d = half(block + 208);
  for (int g = 0; g < 16; ++g) to.scale[g] = d * static_cast<int8_t>(scales[g]);
  for (int i = 0; i < 256; ++i) {
    const int part = i / 128;          // two halves of 128
    const int quarter = i % 128 / 32;  // 32 elements that share a shift
    const int low4 = (low[part * 64 + quarter % 2 * 32 + i % 32] >> (quarter / 2 * 4)) & 15;
    const int high2 = (high[part * 32 + i % 32] >> (quarter * 2)) & 3;
    to.code[i] = (low4 | high2 << 4) - 32;
  }
}

void decode_iq4_xs(const uint8_t* block, const Parts& to) {
  const double d = half(block);
  const uint16_t scales_high = u16(block + 2);
  const uint8_t* scales_low = block + 4;
  for (int g = 0; g < 8; ++g) {
    const int low4 = (scales_low[g / 2] >> (g % 2 * 4)) & 15;
    const int high2 = (scales_high >> (2 * g)) & 3;
    to.scale[2 * g] = to.scale[2 * g + 1] = d * ((low4 | high2 << 4) - 32);
    const uint8_t* q = block + 8 + 16 * g;
    for (int i = 0; i < 16; ++i) {
      to.code[32 * g + i] = kIq4Levels[q[i] & 15];
      to.code[32 * g + 16 + i] = kIq4Levels[q[i] >> 4];
    }
  }
}

template <void (*Block)(const uint8_t*, const Parts&), int64_t kElements, int64_t kBytes>
void run(const uint8_t* bytes, int64_t blocks, const Parts& to) {
  constexpr int64_t kGroups = kElements / kScaleGroup;
  for (int64_t b = 0; b < blocks; ++b) {
    Block(bytes + b * kBytes,
          {to.code + b * kElements, to.scale == nullptr ? nullptr : to.scale + b * kGroups,
           to.offset == nullptr ? nullptr : to.offset + b * kGroups});
  }
}

constexpr std::array<BlockCodec, 16> kCodecs{{
    {TensorType::f32, run<decode_f32, 1, 4>, false, 0},
    {TensorType::f16, run<decode_f16, 1, 2>, false, 0},
    {TensorType::bf16, run<decode_bf16, 1, 2>, false, 0},
    {TensorType::q4_0, run<decode_q4_0, 32, 18>, false, 32},
    {TensorType::q4_1, run<decode_q4_1, 32, 20>, true, 32},
    {TensorType::q5_0, run<decode_q5_0, 32, 22>, false, 32},
    {TensorType::q5_1, run<decode_q5_1, 32, 24>, true, 32},
    {TensorType::q8_0, run<decode_q8_0, 32, 34>, false, 32},
    {TensorType::q2_k, run<decode_q2_k, 256, 84>, true, 16},
    {TensorType::q3_k, run<decode_q3_k, 256, 110>, false, 16},
    {TensorType::q4_k, run<decode_q4_k, 256, 144>, true, 32},
    {TensorType::q5_k, run<decode_q5_k, 256, 176>, true, 32},
    {TensorType::q6_k, run<decode_q6_k, 256, 210>, false, 16},
    {TensorType::iq4_nl, run<decode_iq4_nl, 32, 18>, false, 32},
    {TensorType::iq4_xs, run<decode_iq4_xs, 256, 136>, false, 32},
    {TensorType::mxfp4, run<decode_mxfp4, 32, 17>, false, 32},
}};

}  // namespace

const BlockCodec* find_block_codec(TensorType type) {
  for (const BlockCodec& codec : kCodecs) {
    if (codec.type == type) return &codec;
  }
  return nullptr;
}

}  // namespace greta
