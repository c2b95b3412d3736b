#pragma once
// 8-bit floats and the 19-bit tf32, as bits. Every value is exact in f32.
//
// e4m3, e5m2: OCP "8-bit Floating Point Specification" (NVIDIA): e4m3 has no infinity and one NaN per sign.
// e4m3fnuz, e5m2fnuz ("fp8", "bf8" of AMD's CDNA3):
// bias one larger, no infinity, no -0: 0x80 is the only NaN.

#include <bit>
#include <cstdint>

namespace greta {

/// sign, `8 - 1 - kMantissaBits` exponent bits, kMantissaBits: -1^s * m * 2^(max(e, 1) - bias), NaN and
/// infinity not looked at.
template <int kMantissaBits, int kBias>
constexpr float small_float_to_f32(uint8_t x) {
  const int field = (x & 0x7f) >> kMantissaBits;
  const int mantissa = (x & ((1 << kMantissaBits) - 1)) | (field == 0 ? 0 : 1 << kMantissaBits);
  const int exponent = (field == 0 ? 1 : field) - kBias - kMantissaBits;
  const float unit = std::bit_cast<float>(static_cast<uint32_t>(exponent + 127) << 23);
  const float magnitude = static_cast<float>(mantissa) * unit;
  return x & 0x80 ? -magnitude : magnitude;
}

constexpr float e4m3_to_f32(uint8_t x) {
  if ((x & 0x7f) == 0x7f) return std::bit_cast<float>((x & 0x80u) << 24 | 0x7fc00000u);
  return small_float_to_f32<3, 7>(x);
}

constexpr float e5m2_to_f32(uint8_t x) {
  if ((x & 0x7c) == 0x7c) {
    return std::bit_cast<float>((x & 0x80u) << 24 | 0x7f800000u | (x & 3u) << 21);
  }
  return small_float_to_f32<2, 15>(x);
}

/// A NaN with the lowest payload bit, as the published models of CDNA3 have it (and quiet it later).
inline constexpr uint32_t kFnuzNan = 0x7f800001u;

constexpr float e4m3fnuz_to_f32(uint8_t x) {
  return x == 0x80 ? std::bit_cast<float>(kFnuzNan) : small_float_to_f32<3, 8>(x);
}

constexpr float e5m2fnuz_to_f32(uint8_t x) {
  return x == 0x80 ? std::bit_cast<float>(kFnuzNan) : small_float_to_f32<2, 16>(x);
}

/// f32 -> tf32 (also CDNA3's xf32) as matrix units read it: the low 13 bits cut off. A NaN whose payload is
/// in those bits alone becomes an infinity.
constexpr float truncate_to_tf32(float x) {
  return std::bit_cast<float>(std::bit_cast<uint32_t>(x) & 0xffffe000u);
}

}  // namespace greta
