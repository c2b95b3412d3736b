#pragma once
// The copy engine's maps (CUtensorMap) of a GEMM of 16-bit weights: boxes of 64 k of a work-group's tokens,
// with the quads of a row changed round as the matrix unit reads them, and of its panels.

#include "kernels/gpu/args.h"
#include "kernels/gpu/shapes.h"

namespace greta::gpu {

/// cuTensorMapEncodeTiled, with the types that it has there.
using EncodeMap = int (*)(void* map, int element, unsigned rank, void* data, const uint64_t* sizes,
                          const uint64_t* strides, const unsigned* box, const unsigned* steps, int interleave,
                          int swizzle, int promotion, int fill);

/// Fills in args.rows and args.panels; the driver's error, or 0.
inline int make_copy_maps(EncodeMap encode, Args& args) {
  constexpr HalfGemmShape kShape(32);
  constexpr int kUint16 = 1, kUint64 = 4, kNone = 0, kSwizzle128 = 3, kLines256 = 3;
  constexpr unsigned kSteps[2] = {1, 1};
  const auto make = [&](CopyMap& map, int element, const void* data, uint64_t cols, int64_t rows,
                        int64_t stride, int box_cols, int box_rows, int swizzle) {
    const uint64_t sizes[2] = {cols, static_cast<uint64_t>(rows)},
                   strides[1] = {static_cast<uint64_t>(stride)};
    const unsigned box[2] = {static_cast<unsigned>(box_cols), static_cast<unsigned>(box_rows)};
    return encode(map.words, element, 2, const_cast<void*>(data), sizes, strides, box, kSteps, kNone, swizzle,
                  kLines256, kNone);
  };
  const uint64_t k = static_cast<uint64_t>(args.weight.k + 1) / 2 * 2;
  const int error = make(args.rows, kUint16, args.in[0].data, k, args.in[0].rows, args.in[0].stride,
                         kShape.kStageK, kShape.tokens, kSwizzle128);
  if (error != 0) return error;
  return make(args.panels, kUint64, args.weight.panels, k * kPanelRows * 2 / 8,
              (args.weight.n + kPanelRows - 1) / kPanelRows, args.weight.panel_bytes, kShape.kPanelBytes / 8,
              kShape.panels, kNone);
}

}  // namespace greta::gpu
