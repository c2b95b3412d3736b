#include "kernels/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace greta {
namespace {

int64_t panel_bytes(TensorType type, int64_t k) {
  switch (type) {
    case TensorType::f32: return kPanelRows * 4 * k;
    case TensorType::f16:
    case TensorType::bf16: return kPanelRows * 2 * round_up(k, 2);
    default: {
      const BlockCode code = block_code(type);
      return round_up(k / kBlock / code.run() * code.run_bytes(), 64);
    }
  }
}

template <class T>
T read(const std::byte* p) {
  T x;
  std::memcpy(&x, p, sizeof x);
  return x;
}

int byte_at(const std::byte* p, int i) { return static_cast<int>(p[i]); }

/// Where the parts of a block of a file lie.
struct FileBlock {
  int low, high = -1;  // codes: their low bits, and those that do not fit there
  int d, m = -1;       // f16; for mxfp4, d is the exponent's byte
  bool halves = true;  // a byte holds elements i and 16 + i of 32, not elements of several blocks of 32
};

constexpr FileBlock file_block(TensorType type) {
  switch (type) {
    case TensorType::q4_0: return {.low = 2, .d = 0};
    case TensorType::q4_1: return {.low = 4, .d = 0, .m = 2};
    case TensorType::q5_0: return {.low = 6, .high = 2, .d = 0};
    case TensorType::q5_1: return {.low = 8, .high = 4, .d = 0, .m = 2};
    case TensorType::q8_0: return {.low = 2, .d = 0, .halves = false};
    case TensorType::q2_k: return {.low = 16, .d = 80, .m = 82, .halves = false};
    case TensorType::q3_k: return {.low = 32, .high = 0, .d = 108, .halves = false};
    case TensorType::q4_k: return {.low = 16, .d = 0, .m = 2, .halves = false};
    case TensorType::q5_k: return {.low = 48, .high = 16, .d = 0, .m = 2, .halves = false};
    case TensorType::q6_k: return {.low = 0, .high = 128, .d = 208, .halves = false};
    case TensorType::iq4_xs: return {.low = 8, .d = 0};
    case TensorType::mxfp4: return {.low = 1, .d = 0};
    default: return {.low = 2, .d = 0};  // iq4_nl
  }
}

constexpr uint32_t in_every_byte(uint32_t x) { return x * 0x01010101u; }

/// Codes of block j of 32 in a file's block, 4 to a word.
template <TensorType kT>
void read_codes(const std::byte* p, int j, uint32_t* codes) {
  constexpr BlockCode kCode = block_code(kT);
  constexpr FileBlock kAt = file_block(kT);
  constexpr int kLow = kCode.bits == 8 ? 8 : kCode.bits >= 4 ? 4 : 2;
  if constexpr (kAt.halves) {
    const uint32_t fifth = kAt.high < 0 ? 0 : read<uint32_t>(p + kAt.high);
    for (int g = 0; g < 8; ++g) {
      const uint32_t nibbles = read<uint32_t>(p + kAt.low + 16 * j + g % 4 * 4) >> (g / 4 * 4);
      const uint32_t spread = (fifth >> (4 * g) & 15) * 0x00204081u & in_every_byte(1);  // a bit to each byte
      codes[g] = (nibbles & in_every_byte(15)) | spread << 4;
    }
  } else {
    // 32 bytes hold the low bits of 8 / kLow blocks. q6_k takes 4-bit fields
    // from two runs of 32 bytes in turn.
    constexpr int kPer = 8 / kLow;
    const bool by_turns = kT == TensorType::q6_k;
    const int run = by_turns ? j / 4 * 2 + j % 2 : j / kPer;
    const int shift = kLow * (by_turns ? j % 4 / 2 : j % kPer);
    constexpr int kHigh = kCode.bits - kLow;
    const std::byte* high = p + kAt.high + (kHigh == 2 ? j / 4 * 32 : 0);
    const int high_shift = kHigh == 2 ? j % 4 * 2 : j;
    for (int g = 0; g < 8; ++g) {
      const uint32_t low = read<uint32_t>(p + kAt.low + 32 * run + 4 * g) >> shift;
      codes[g] = low & in_every_byte((1u << kLow) - 1);
      if constexpr (kHigh > 0) {
        const uint32_t rest = read<uint32_t>(high + 4 * g) >> high_shift;
        codes[g] |= (rest & in_every_byte((1u << kHigh) - 1)) << kLow;
      }
      if constexpr (kCode.bits == 8) codes[g] ^= in_every_byte(128);
    }
  }
}

/// The small scales of block j of 32 in a file's block, as ScaleForm has them: one or two bytes.
template <TensorType kT>
void read_small_scales(const std::byte* p, int j, uint8_t* to) {
  if constexpr (kT == TensorType::mxfp4) {
    to[0] = static_cast<uint8_t>(p[0]);
  } else if constexpr (kT == TensorType::q2_k || kT == TensorType::q6_k) {
    std::memcpy(to, p + (kT == TensorType::q6_k ? 192 : 0) + 2 * j, 2);
  } else if constexpr (kT == TensorType::q3_k) {  // 16 of 6 bits: 4 low bits in 8 bytes, 2 high bits in 4
    for (int i = 0; i < 2; ++i) {
      const int g = 2 * j + i;
      const int low = byte_at(p, 96 + g % 8) >> (g / 8 * 4) & 15;
      const int high = byte_at(p, 104 + g % 4) >> (g / 4 * 2) & 3;
      to[i] = static_cast<uint8_t>((low | high << 4) - 32);
    }
  } else if constexpr (kT == TensorType::iq4_xs) {
    const int low = byte_at(p, 4 + j / 2) >> (j % 2 * 4) & 15;
    to[0] = static_cast<uint8_t>((low | (read<uint16_t>(p + 2) >> (2 * j) & 3) << 4) - 32);
  } else if constexpr (kT == TensorType::q4_k || kT == TensorType::q5_k) {  // 8 pairs of 6 bits in 12 bytes
    const int a = byte_at(p, 4 + j % 4), b = byte_at(p, 8 + j % 4), c = byte_at(p, 12 + j % 4);
    to[0] = static_cast<uint8_t>(j < 4 ? a & 63 : (c & 15) | a >> 6 << 4);
    to[1] = static_cast<uint8_t>(j < 4 ? b & 63 : c >> 4 | b >> 6 << 4);
  }
}

/// Plane after plane, from codes[group][lane].
template <int kBits>
void write_planes(const uint32_t (*codes)[kPanelRows], std::byte* out) {
  constexpr int kLow = kBits == 8 ? 8 : kBits >= 4 ? 4 : 2;
  for (int width = kLow, at = 0; width > 0; at += width, width = kBits - at) {
    const uint32_t field = in_every_byte((1u << width) - 1);
    for (int row = 0; row < width; ++row, out += 64) {
      uint32_t bytes[kPanelRows] = {};
      for (int g = row; g < 8; g += width) {
        for (int lane = 0; lane < kPanelRows; ++lane) {
          bytes[lane] |= (codes[g][lane] >> at & field) << (g / width * width);
        }
      }
      std::memcpy(out, bytes, 64);
    }
  }
}

/// Which row of the file lane `lane` of a panel is.
int64_t stored_row(const PackedWeight& weight, int64_t panel, int64_t lane) {
  return static_cast<int64_t>(weight.order.stored(static_cast<uint64_t>(panel * kPanelRows + lane)));
}

/// One panel. The 16 rows of the file are read side by side, a file's block of each at a time.
template <TensorType kT>
void pack_blocks(PackedWeight& weight, const std::byte* rows, int64_t panel) {
  constexpr BlockCode kCode = block_code(kT);
  constexpr FileBlock kAt = file_block(kT);
  constexpr int kRun = static_cast<int>(kCode.run());  // blocks of 32 in a file's block
  const int64_t blocks = weight.k / kBlock, file_bytes = info(kT).bytes;
  const int64_t row_bytes = blocks / kRun * file_bytes;
  std::byte* run = weight.panel(panel);
  const int lanes = static_cast<int>(std::min(kPanelRows, weight.n - panel * kPanelRows));
  uint32_t words[size_t{kRun}][8][kPanelRows] = {};
  for (int64_t b = 0; b < blocks; b += kRun, run += kCode.run_bytes()) {
    for (int lane = 0; lane < lanes; ++lane) {
      const std::byte* p = rows + stored_row(weight, panel, lane) * row_bytes + b / kRun * file_bytes;
      if constexpr (kCode.head_bytes() > 0) std::memcpy(run + 2 * lane, p + kAt.d, 2);
      if constexpr (kCode.has_min) std::memcpy(run + 32 + 2 * lane, p + kAt.m, 2);
      for (int j = 0; j < kRun; ++j) {
        uint32_t word[8];
        read_codes<kT>(p, j, word);
        for (int g = 0; g < 8; ++g) words[j][g][lane] = word[g];
        uint8_t small[2];
        read_small_scales<kT>(p, j, small);
        for (int i = 0; i < kCode.small_bytes() / kPanelRows; ++i) {
          run[kCode.head_bytes() + j * kCode.small_bytes() + i * kPanelRows + lane] = std::byte{small[i]};
        }
      }
    }
    std::byte* codes = run + kCode.scale_bytes();
    for (int j = 0; j < kRun; ++j, codes += kCode.bytes()) write_planes<kCode.bits>(words[j], codes);
  }
}

/// Code of element k of a block, before the table of levels.
int read_code(const BlockCode& code, int lane, int k, const std::byte* codes) {
  const int low = code.bits == 8 ? 8 : code.bits >= 4 ? 4 : 2;
  const int group = k / 4, slot = lane * 4 + k % 4;
  int u = 0;
  for (int width = low, at = 0; width > 0; codes += 64 * width, at += width, width = code.bits - at) {
    const int byte = byte_at(codes, group % width * 64 + slot);
    u |= (byte >> (group / width * width) & ((1 << width) - 1)) << at;
  }
  return u;
}

/// d and m of the groups of a block, exact in f32.
struct GroupScale {
  float d[2], m[2] = {};
};

GroupScale read_scales(const BlockCode& code, int lane, int64_t block, const std::byte* run) {
  const std::byte* small = run + code.head_bytes() + block % code.run() * code.small_bytes() + lane;
  if (code.form == ScaleForm::exponent) {
    return {{std::ldexp(1.0f, byte_at(small, 0) - 128), 0}};
  }
  const float d = f16_to_f32(read<uint16_t>(run + 2 * lane));
  const float m = code.has_min ? f16_to_f32(read<uint16_t>(run + 32 + 2 * lane)) : 0.0f;
  GroupScale of{{d, d}, {m, m}};
  for (int g = 0; g < code.groups; ++g) {
    const int byte = code.form == ScaleForm::halves ? 0 : byte_at(small, 16 * g);
    switch (code.form) {
      case ScaleForm::signed8: of.d[g] = d * static_cast<float>(static_cast<int8_t>(byte)); break;
      case ScaleForm::unsigned8:
        of.d[g] = d * static_cast<float>(byte);
        of.m[g] = -(m * static_cast<float>(byte_at(small, 16)));
        break;
      case ScaleForm::nibbles:
        of.d[g] = d * static_cast<float>(byte & 15);
        of.m[g] = -(m * static_cast<float>(byte >> 4));
        break;
      default: break;
    }
  }
  return of;
}

/// Where element (lane, k) of an unquantised panel lies.
int64_t plain_offset(TensorType type, int64_t lane, int64_t k) {
  if (type == TensorType::f32) return (k * kPanelRows + lane) * 4;
  if (type == TensorType::f16) return (k * kPanelRows + lane) * 2;
  return (k / 2 * kPanelRows + lane) * 4 + k % 2 * 2;
}

template <class T>
void pack_plain(PackedWeight& weight, const std::byte* rows, int64_t panel) {
  constexpr int64_t kChunk = 32;  // of k: a chunk of the panel stays in the first-level cache
  constexpr int64_t kBytes = sizeof(T);
  std::byte* out = weight.panel(panel);
  const int64_t lanes = std::min(kPanelRows, weight.n - panel * kPanelRows);
  for (int64_t begin = 0; begin < weight.k; begin += kChunk) {
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const std::byte* row = rows + stored_row(weight, panel, lane) * weight.k * kBytes;
      for (int64_t k = begin; k < std::min(weight.k, begin + kChunk); ++k) {
        const T x = read<T>(row + k * kBytes);
        std::memcpy(out + plain_offset(weight.type, lane, k), &x, sizeof x);
      }
    }
  }
}

}  // namespace

bool can_pack(TensorType type) {
  return type == TensorType::f32 || type == TensorType::f16 || type == TensorType::bf16 ||
         block_code(type).bits != 0;
}

PackedWeight plan_pack(TensorType type, std::span<const std::byte> rows, int64_t n, int64_t k,
                       RowOrder order) {
  if (!can_pack(type)) fail_input("no kernel reads weights of type {}", name(type));
  const TensorTypeInfo& format = info(type);
  if (n <= 0 || k <= 0 || k % format.block != 0) {
    fail_input("a {} weight of {} rows of {} values: rows must be a multiple of {} long", name(type), n, k,
               format.block);
  }
  if (const int64_t want = n * (k / format.block) * format.bytes; static_cast<int64_t>(rows.size()) != want) {
    fail_input("a {} weight of {} x {} takes {} bytes, but there are {}", name(type), n, k, want,
               rows.size());
  }
  return {.type = type, .n = n, .k = k, .panel_bytes = panel_bytes(type, k), .order = order, .bytes = {}};
}

void pack_panels(PackedWeight& weight, std::span<const std::byte> rows, int64_t first_panel,
                 int64_t end_panel) {
  for (int64_t panel = first_panel; panel < end_panel; ++panel) {
    // What packing leaves out: rows beyond the last, and padding.
    const bool partial = (panel + 1) * kPanelRows > weight.n;
    if (partial) std::memset(weight.panel(panel), 0, static_cast<size_t>(weight.panel_bytes));
    std::memset(weight.panel(panel) + weight.panel_bytes - 64, 0, 64);
    switch (weight.type) {
      case TensorType::f32: pack_plain<uint32_t>(weight, rows.data(), panel); break;
      case TensorType::f16:
      case TensorType::bf16: pack_plain<uint16_t>(weight, rows.data(), panel); break;
#define GRETA_PACK(type) \
  case TensorType::type: pack_blocks<TensorType::type>(weight, rows.data(), panel); break;
        GRETA_BLOCK_TYPES(GRETA_PACK)
#undef GRETA_PACK
      default: break;  // plan_pack has refused it
    }
  }
}

PackedWeight pack(TensorType type, std::span<const std::byte> rows, int64_t n, int64_t k, RowOrder order) {
  PackedWeight weight = plan_pack(type, rows, n, k, order);
  weight.bytes = AlignedBytes(weight.packed_bytes());
  pack_panels(weight, rows, 0, weight.panels());
  return weight;
}

void unpack_row(const PackedWeight& weight, int64_t row, float* out) {
  const std::byte* panel = weight.panel(row / kPanelRows);
  const int lane = static_cast<int>(row % kPanelRows);
  const BlockCode code = block_code(weight.type);
  if (code.bits == 0) {
    for (int64_t k = 0; k < weight.k; ++k) {
      const std::byte* p = panel + plain_offset(weight.type, lane, k);
      if (weight.type == TensorType::f32) {
        std::memcpy(out + k, p, 4);
      } else {
        out[k] =
            weight.type == TensorType::f16 ? f16_to_f32(read<uint16_t>(p)) : bf16_to_f32(read<uint16_t>(p));
      }
    }
    return;
  }
  for (int64_t b = 0; b < weight.k / kBlock; ++b) {
    const std::byte* run = panel + b / code.run() * code.run_bytes();
    const std::byte* codes = run + code.scale_bytes() + b % code.run() * code.bytes();
    const GroupScale of = read_scales(code, lane, b, run);
    for (int k = 0; k < kBlock; ++k) {
      int u = read_code(code, lane, k, codes);
      if (code.levels != Levels::none) u = table_of(code.levels)[u];
      const int g = k * code.groups / static_cast<int>(kBlock);
      const float product = of.d[g] * static_cast<float>(u - code.offset());  // exact: at most 24 bits
      out[b * kBlock + k] = code.has_min ? product + of.m[g] : product;
    }
  }
}

int64_t activation_row_bytes(Format format, int64_t k) {
  constexpr int64_t kBlockBytes = sizeof(ActivationBlock);
  switch (format) {
    case Format::q8_block32: return round_up(k / kBlock * kBlockBytes, 64);
    case Format::bf16:
    case Format::f16: return round_up(round_up(k, 2) * 2, 64);
    default: return round_up(k * 4, 64);
  }
}

}  // namespace greta
