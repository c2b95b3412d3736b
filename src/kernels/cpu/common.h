#pragma once
// What every kernel file needs. Before it, a file defines
//   GRETA_ISA   the namespace of its lanes (scalar, avx2, avx512)
//   GRETA_UNIT  the unit's name in its kernels' names ("avx512", "avx512vnni", ...)
// and includes its lanes. Kernels live in an unnamed namespace: nothing of them is shared between ISAs.

#include "kernels/cpu/kernel_list.h"
#include "kernels/math.h"

namespace greta::GRETA_ISA {
namespace {

#define GRETA_NAME(rest) "cpu." GRETA_UNIT "." rest

/// gemm_TYPE and gemv_TYPE of the including file's templates gemm<Weight> and gemv<Weight>, stamped.
#define GRETA_MATMUL_KERNELS(type, Weight)              \
  void gemm_##type(const KernelArgs& args, Part part) { \
    stamp(args, part, GRETA_NAME("gemm." #type));       \
    gemm<Weight>(args, part);                           \
  }                                                     \
  void gemv_##type(const KernelArgs& args, Part part) { \
    stamp(args, part, GRETA_NAME("gemv." #type));       \
    gemv<Weight>(args, part);                           \
  }

/// An entry of the table for a matmul kernel <shape>_<type>.
#define GRETA_MATMUL_ENTRY(type, shape, route, roundings) \
  matmul_entry(GRETA_NAME(#shape "." #type), TensorType::type, route, Shape::shape, roundings, shape##_##type)

constexpr KernelEntry matmul_entry(const char* name, TensorType type, Route route, Shape shape,
                                   Roundings roundings, KernelFn run) {
  return {.name = name,
          .op = OpKind::matmul,
          .type = type,
          .is_matmul = true,
          .route = route,
          .shape = shape,
          .roundings = roundings,
          .run = run};
}

GRETA_INLINE void stamp(const KernelArgs& args, Part part, const char* name) {
  if (part.index != 0 || args.launch == nullptr) return;
  args.launch->kernel = name;
  ++args.launch->count;
}

GRETA_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
GRETA_INLINE int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }

/// Lanes left of `total` from `at`, at most 16.
GRETA_INLINE int lanes_left(int64_t total, int64_t at) { return smaller(16, total - at); }

GRETA_INLINE f32x16 load_upto(const float* p, int n, float fill = 0) {
  return n == 16 ? load(p) : load_n(p, n, fill);
}
GRETA_INLINE void store_upto(float* p, f32x16 x, int n) {
  if (n == 16) {
    store(p, x);
  } else {
    store_n(p, x, n);
  }
}

/// The largest lane; NaN is none.
GRETA_INLINE float max_of(f32x16 a) {
  float lanes[16];
  store(lanes, a);
  float top = lanes[0];
  for (float x : lanes) top = top < x ? x : top;
  return top;
}

// How every matmul kernel begins and ends a sum.

/// The bias of a panel of 16 outputs; nullptr without.
GRETA_INLINE const float* bias_of(const KernelArgs& args, int64_t panel) {
  return args.bias == nullptr ? nullptr : args.bias + panel * 16;
}

/// What the sums of panel p after that one begin with.
GRETA_INLINE f32x16 first_sum(const float* bias, int p = 0) {
  return bias == nullptr ? f32x16(0.0f) : load(bias + p * 16);
}

/// x as a soft cap leaves it.
GRETA_INLINE f32x16 soft_capped(f32x16 x, float cap) {
  return cap == 0 ? x : math::tanh(x / f32x16(cap)) * f32x16(cap);
}

/// Multiplies the outputs that a thread has made (a Share) by params.scale, and caps them.
template <class Share>
GRETA_INLINE void scale_sums(const KernelArgs& args, const Share& mine) {
  if (args.params.scale == 1 && args.params.cap == 0) return;
  const f32x16 scale(args.params.scale);
  const int64_t end = smaller(args.weight->n, mine.panel_end * 16);
  for (int64_t r = mine.row_begin; r < mine.row_end; ++r) {
    for (int64_t i = mine.panel_begin * 16; i < end; i += 16) {
      float* out = args.out.row(r) + i;
      const int n = lanes_left(end, i);
      store_upto(out, soft_capped(load_upto(out, n) * scale, args.params.cap), n);
    }
  }
}

}  // namespace
}  // namespace greta::GRETA_ISA
