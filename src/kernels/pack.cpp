#include "kernels/pack.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/error.h"
#include "base/half.h"

namespace greta {
namespace {

constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

constexpr int64_t code_bytes(const BlockCode& code) { return kPanelRows * kBlock * code.bits / 8; }
constexpr int64_t scale_bytes(const BlockCode& code) { return kPanelRows * 2 * (code.has_min ? 2 : 1); }

int64_t panel_bytes(TensorType type, int64_t k) {
  switch (type) {
    case TensorType::f32: return kPanelRows * 4 * k;
    case TensorType::f16:
    case TensorType::bf16: return kPanelRows * 2 * round_up(k, 2);
    default: {
      const BlockCode code = block_code(type);
      return round_up(k / kBlock * (code_bytes(code) + scale_bytes(code)), 64);
    }
  }
}

/// A block of a file, taken apart.
struct Block {
  std::array<uint8_t, kBlock> codes;
  uint16_t d = 0;
  uint16_t m = 0;
};

uint16_t read_u16(const std::byte* p) {
  uint16_t x;
  std::memcpy(&x, p, 2);
  return x;
}

Block read_block(const BlockCode& code, const std::byte* p) {
  Block block;
  block.d = read_u16(p);
  p += 2;
  if (code.has_min) {
    block.m = read_u16(p);
    p += 2;
  }
  uint32_t fifth = 0;
  if (code.bits == 5) {
    std::memcpy(&fifth, p, 4);
    p += 4;
  }
  for (int i = 0; i < kBlock; ++i) {
    if (code.bits == 8) {
      block.codes[i] = static_cast<uint8_t>(static_cast<int8_t>(p[i]) + 128);
      continue;
    }
    const auto byte = static_cast<uint8_t>(p[i % 16]);
    const int nibble = i < 16 ? byte & 15 : byte >> 4;
    block.codes[i] = static_cast<uint8_t>(nibble | ((fifth >> i) & 1) << 4);
  }
  return block;
}

void write_codes(const BlockCode& code, const Block& block, int lane, std::byte* codes) {
  for (int k = 0; k < kBlock; ++k) {
    const int group = k / 4, slot = lane * 4 + k % 4;
    if (code.bits == 8) {
      codes[group * 64 + slot] = std::byte{block.codes[k]};
      continue;
    }
    const int nibble = block.codes[k] & 15;
    codes[group % 4 * 64 + slot] |= static_cast<std::byte>(group < 4 ? nibble : nibble << 4);
    if (code.bits == 5) codes[256 + slot] |= static_cast<std::byte>((block.codes[k] >> 4) << group);
  }
}

uint8_t read_code(const BlockCode& code, int lane, int k, const std::byte* codes) {
  const int group = k / 4, slot = lane * 4 + k % 4;
  if (code.bits == 8) return static_cast<uint8_t>(codes[group * 64 + slot]);
  const auto byte = static_cast<uint8_t>(codes[group % 4 * 64 + slot]);
  const int nibble = group < 4 ? byte & 15 : byte >> 4;
  if (code.bits == 4) return static_cast<uint8_t>(nibble);
  return static_cast<uint8_t>(nibble | ((static_cast<uint8_t>(codes[256 + slot]) >> group) & 1) << 4);
}

void pack_blocks(PackedWeight& weight, const std::byte* rows, int64_t panel) {
  const BlockCode code = block_code(weight.type);
  const int64_t blocks = weight.k / kBlock;
  const int64_t block_bytes = info(weight.type).bytes;
  std::byte* codes = weight.panel(panel);
  std::byte* scales = codes + blocks * code_bytes(code);
  for (int64_t lane = 0; lane < std::min(kPanelRows, weight.n - panel * kPanelRows); ++lane) {
    const std::byte* row = rows + (panel * kPanelRows + lane) * blocks * block_bytes;
    for (int64_t b = 0; b < blocks; ++b) {
      const Block block = read_block(code, row + b * block_bytes);
      write_codes(code, block, static_cast<int>(lane), codes + b * code_bytes(code));
      std::byte* scale = scales + b * scale_bytes(code) + lane * 2;
      std::memcpy(scale, &block.d, 2);
      if (code.has_min) std::memcpy(scale + kPanelRows * 2, &block.m, 2);
    }
  }
}

/// Where element (lane, k) of an unquantised panel lies.
int64_t plain_offset(TensorType type, int64_t lane, int64_t k) {
  if (type == TensorType::f32) return (k * kPanelRows + lane) * 4;
  if (type == TensorType::f16) return (k * kPanelRows + lane) * 2;
  return (k / 2 * kPanelRows + lane) * 4 + k % 2 * 2;
}

void pack_plain(PackedWeight& weight, const std::byte* rows, int64_t panel) {
  const int64_t size = info(weight.type).bytes;
  std::byte* out = weight.panel(panel);
  for (int64_t lane = 0; lane < std::min(kPanelRows, weight.n - panel * kPanelRows); ++lane) {
    const std::byte* row = rows + (panel * kPanelRows + lane) * weight.k * size;
    for (int64_t k = 0; k < weight.k; ++k) {
      std::memcpy(out + plain_offset(weight.type, lane, k), row + k * size, static_cast<size_t>(size));
    }
  }
}

}  // namespace

BlockCode block_code(TensorType type) {
  switch (type) {
    case TensorType::q4_0: return {4, 8, false};
    case TensorType::q4_1: return {4, 0, true};
    case TensorType::q5_0: return {5, 16, false};
    case TensorType::q5_1: return {5, 0, true};
    case TensorType::q8_0: return {8, 128, false};
    default: return {};
  }
}

bool can_pack(TensorType type) {
  return type == TensorType::f32 || type == TensorType::f16 || type == TensorType::bf16 ||
         block_code(type).bits != 0;
}

PackedWeight plan_pack(TensorType type, std::span<const std::byte> rows, int64_t n, int64_t k) {
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
  PackedWeight weight{type, n, k, panel_bytes(type, k), {}};
  weight.bytes = AlignedBytes(weight.panels() * weight.panel_bytes);
  return weight;
}

void pack_panels(PackedWeight& weight, std::span<const std::byte> rows, int64_t first_panel,
                 int64_t end_panel) {
  for (int64_t panel = first_panel; panel < end_panel; ++panel) {
    std::memset(weight.panel(panel), 0, static_cast<size_t>(weight.panel_bytes));
    if (block_code(weight.type).bits != 0) {
      pack_blocks(weight, rows.data(), panel);
    } else {
      pack_plain(weight, rows.data(), panel);
    }
  }
}

PackedWeight pack(TensorType type, std::span<const std::byte> rows, int64_t n, int64_t k) {
  PackedWeight weight = plan_pack(type, rows, n, k);
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
        out[k] = weight.type == TensorType::f16 ? f16_to_f32(read_u16(p)) : bf16_to_f32(read_u16(p));
      }
    }
    return;
  }
  const int64_t blocks = weight.k / kBlock;
  const std::byte* scales = panel + blocks * code_bytes(code);
  for (int64_t b = 0; b < blocks; ++b) {
    const std::byte* scale = scales + b * scale_bytes(code) + lane * 2;
    const float d = f16_to_f32(read_u16(scale));
    const float m = code.has_min ? f16_to_f32(read_u16(scale + kPanelRows * 2)) : 0.0f;
    for (int k = 0; k < kBlock; ++k) {
      const int u = read_code(code, lane, k, panel + b * code_bytes(code));
      const float product = d * static_cast<float>(u - code.offset);  // exact: 11 bits times 8
      out[b * kBlock + k] = code.has_min ? product + m : product;
    }
  }
}

int64_t activation_row_bytes(Format format, int64_t k) {
  const auto bytes = format == Format::q8_block32 ? k / kBlock * static_cast<int64_t>(sizeof(ActivationBlock))
                     : format == Format::bf16     ? round_up(k, 2) * 2
                                                  : k * 4;
  return round_up(bytes, 64);
}

}  // namespace greta
