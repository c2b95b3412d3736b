// The packed weight formats (layouts in kernels/pack.h) as the matmul kernels read them.

#include "kernels/cpu/common.h"

namespace greta::GRETA_ISA {
namespace {

template <int kBits>
GRETA_INLINE i32x16 shr_by(i32x16 x) {
  if constexpr (kBits < 0) return shl<-kBits>(x);
  if constexpr (kBits > 0) return shr<kBits>(x);
  return x;
}

/// Group kGroup of a plane of kWidth bits, at bit kAt of each byte.
template <int kWidth, int kAt, int kGroup>
GRETA_INLINE i32x16 plane_group(const std::byte* plane) {
  const i32x16 row = load_raw(plane + 64 * (kGroup % kWidth));
  if constexpr (kWidth == 8) return row;
  constexpr int32_t kField = (((1u << kWidth) - 1) << kAt) * 0x01010101u;  // of every byte
  return shr_by<kGroup / kWidth * kWidth - kAt>(row) & set_i32(kField);
}

template <int kBits, int kGroup>
GRETA_INLINE i32x16 code_group(const std::byte* codes) {
  constexpr int kLow = kBits == 8 ? 8 : kBits >= 4 ? 4 : 2;
  const i32x16 low = plane_group<kLow, 0, kGroup>(codes);
  if constexpr (kBits == kLow) return low;
  if constexpr (kBits > kLow) return low | plane_group<kBits - kLow, kLow, kGroup>(codes + 64 * kLow);
}

/// A format of blocks of 32 (kernels/pack.h describes it).
template <TensorType kT>
struct BlockWeight {
  static constexpr TensorType kType = kT;
  static constexpr BlockCode kCode = block_code(kT);
  // Constants, not calls: files of one ISA must leave no function behind that others could share.
  static constexpr int kGroups = kCode.groups, kOffset = kCode.offset();
  static constexpr int64_t kBytes = kCode.bytes(), kRun = kCode.run(), kRunBytes = kCode.run_bytes(),
                           kScaleBytes = kCode.scale_bytes(), kHeadBytes = kCode.head_bytes(),
                           kSmallBytes = kCode.small_bytes();

  /// Where the run of block b of a panel begins, and the codes of b.
  static GRETA_INLINE const std::byte* run_at(const std::byte* panel, int64_t b) {
    return panel + b / kRun * kRunBytes;
  }
  static GRETA_INLINE const std::byte* codes_at(const std::byte* panel, int64_t b) {
    return run_at(panel, b) + kScaleBytes + b % kRun * kBytes;
  }

  /// Codes of a block as 8 vectors: vector g has, per lane, the codes of k = 4 g .. 4 g + 3 as bytes.
  static GRETA_INLINE void load_codes(const std::byte* panel, int64_t b, i32x16 (&w)[8]) {
    const std::byte* p = codes_at(panel, b);
    w[0] = group<0>(p), w[1] = group<1>(p), w[2] = group<2>(p), w[3] = group<3>(p);
    w[4] = group<4>(p), w[5] = group<5>(p), w[6] = group<6>(p), w[7] = group<7>(p);
  }

  /// d, and m where there is a minimum, of every group of block b. They are exact: 11 bits times 8.
  struct Scales {
    f32x16 d[kGroups], m[kGroups];
  };
  static GRETA_INLINE void load_scales(const std::byte* panel, int64_t b, Scales& to) {
    const std::byte* run = run_at(panel, b);
    const std::byte* small = run + kHeadBytes + b % kRun * kSmallBytes;
    if constexpr (kCode.form == ScaleForm::exponent) {
      const i32x16 e = load_u8(small);  // where 2^(e - 128) is subnormal (e < 2), the second form is larger
      to.d[0] = from_bits(max(shl<23>(e - set_i32(1)), shl<21>(e + set_i32(1))));
      return;
    } else if constexpr (kCode.form == ScaleForm::halves) {
      to.d[0] = load_f16(run);
      if constexpr (kCode.has_min) to.m[0] = load_f16(run + 32);
      return;
    } else {
      const f32x16 d = load_f16(run);
      f32x16 m(0.0f);
      if constexpr (kCode.has_min) m = load_f16(run + 32) * f32x16(-1.0f);
      for (int g = 0; g < kGroups; ++g, small += 16) {
        if constexpr (kCode.form == ScaleForm::signed8) {
          to.d[g] = d * to_f32(load_i8(small));
        } else if constexpr (kCode.form == ScaleForm::unsigned8) {
          to.d[g] = d * to_f32(load_u8(small));
          to.m[g] = m * to_f32(load_u8(small + 16));
        } else {
          const i32x16 both = load_u8(small);
          to.d[g] = d * to_f32(both & set_i32(15));
          to.m[g] = m * to_f32(shr<4>(both));
        }
      }
    }
  }

  /// Chunk [k0, k1) of a panel as f32, [k][16]; both are multiples of 32.
  static GRETA_INLINE const float* dequantise(const std::byte* panel, int64_t k0, int64_t k1, float* out) {
    float* to = out;
    for (int64_t b = k0 / kBlock; b < k1 / kBlock; ++b, to += kBlock * 16) {
      i32x16 w[8];
      load_codes(panel, b, w);
      Scales of;
      load_scales(panel, b, of);
      GRETA_UNROLL(8)
      for (int g = 0; g < 8; ++g) {
        const int half = g * kGroups / 8;
        store(to + 64 * g, value(w[g] & set_i32(255), of, half));
        store(to + 64 * g + 16, value(shr<8>(w[g]) & set_i32(255), of, half));
        store(to + 64 * g + 32, value(shr<16>(w[g]) & set_i32(255), of, half));
        store(to + 64 * g + 48, value(shr<24>(w[g]), of, half));
      }
    }
    return out;
  }

 private:
  template <int kGroup>
  static GRETA_INLINE i32x16 group(const std::byte* codes) {
    const i32x16 w = code_group<kCode.bits, kGroup>(codes);
    if constexpr (kCode.levels != Levels::none) return look_up(table_of(kCode.levels), w);
    return w;
  }
  // d * u has at most 24 bits: exact, so that the FMA rounds as d * u + m does.
  static GRETA_INLINE f32x16 value(i32x16 u, const Scales& of, int g) {
    if constexpr (kCode.has_min) return fma(to_f32(u), of.d[g], of.m[g]);
    return (to_f32(u) - f32x16(kOffset)) * of.d[g];
  }
};

struct F32Weight {
  static constexpr TensorType kType = TensorType::f32;
  static GRETA_INLINE const float* dequantise(const std::byte* panel, int64_t k0, int64_t, float*) {
    return reinterpret_cast<const float*>(panel) + k0 * 16;
  }
};

struct F16Weight {
  static constexpr TensorType kType = TensorType::f16;
  static GRETA_INLINE const float* dequantise(const std::byte* panel, int64_t k0, int64_t k1, float* out) {
    for (int64_t k = k0; k < k1; ++k) store(out + (k - k0) * 16, load_f16(panel + k * 32));
    return out;
  }
};

struct Bf16Weight {
  static constexpr TensorType kType = TensorType::bf16;
  static GRETA_INLINE const float* dequantise(const std::byte* panel, int64_t k0, int64_t k1, float* out) {
    for (int64_t k = k0; k < k1; k += 2) {  // k0 is even; `out` has room for an even count
      const i32x16 pair = load_raw(panel + k * 32);
      store(out + (k - k0) * 16, from_bits(shl<16>(pair)));
      store(out + (k - k0) * 16 + 16, from_bits(pair & set_i32(~0xffff)));
    }
    return out;
  }
};

/// A piece of out [rows, 16 * panels]. No output is split, so no choice of pieces can change a bit.
struct Share {
  int64_t panel_begin, panel_end, row_begin, row_end;
};

/// The pieces of one thread. First its own three quarters of an even share, then runs of `run` panels of what
/// is left, as long as there are any: whoever is slower leaves more of them to the others. Where there are
/// too few panels to share, tiles of rows are, evenly.
class Work {
 public:
  GRETA_INLINE
  Work(const KernelArgs& args, Part part, int64_t rows, int64_t tile, int64_t run)
      : part_(part), panels_(args.weight->panels()), rows_(rows), tile_(tile), run_(run), taken_(args.taken) {
    const int64_t tiles = (rows + tile - 1) / tile;
    by_rows_ = each(panels_) * tiles > each(tiles) * panels_;
    // Runs at the end of every share that anyone may take.
    if (taken_ != nullptr && part.count > 1 && !by_rows_) common_ = panels_ / part.count / 4 / run;
  }

  GRETA_INLINE bool next(Share& share) {
    if (fresh_) {
      fresh_ = false;
      if (by_rows_) {
        const int64_t tiles = (rows_ + tile_ - 1) / tile_;
        share = {0, panels_, smaller(rows_, tiles * part_.index / part_.count * tile_),
                 smaller(rows_, tiles * (part_.index + 1) / part_.count * tile_)};
      } else {
        share = {begin(part_.index), begin(part_.index + 1) - common_ * run_, 0, rows_};
      }
      return true;
    }
    if (common_ == 0) return false;
    const int64_t taken = __atomic_fetch_add(taken_, 1, __ATOMIC_RELAXED);
    if (taken >= common_ * part_.count) return false;
    // By turns, so that threads of one speed each walk up the end of one share: a stream.
    const int64_t first = begin(taken % part_.count + 1) - (common_ - taken / part_.count) * run_;
    share = {first, first + run_, 0, rows_};
    return true;
  }

 private:
  int64_t each(int64_t units) const { return (units + part_.count - 1) / part_.count; }
  int64_t begin(int64_t thread) const { return panels_ * thread / part_.count; }

  Part part_;
  int64_t panels_, rows_, tile_, run_, common_ = 0;
  int64_t* taken_;
  bool by_rows_ = false, fresh_ = true;
};

}  // namespace
}  // namespace greta::GRETA_ISA
