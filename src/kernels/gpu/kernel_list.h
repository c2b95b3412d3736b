#pragma once
// Every kernel by name: X(name, body). The name is also the symbol of a code object, after "greta_".

#include <cstddef>
#include <cstdint>

#include "kernels/gpu/shapes.h"

namespace greta::gpu {

#define GRETA_GPU_BLOCK_TYPES(X) \
  X(q4_0) X(q4_1) X(q5_0) X(q5_1) X(q8_0) X(q2_k) X(q3_k) X(q4_k) X(q5_k) X(q6_k)
#define GRETA_GPU_HALF_TYPES(X) X(f16) X(bf16)
#define GRETA_GPU_TYPES(X) X(f32) GRETA_GPU_HALF_TYPES(X) GRETA_GPU_BLOCK_TYPES(X)

// A macro is not expanded within itself: each list of types has its own X.
#define GRETA_GPU_OF_TYPE(type)                                          \
  GRETA_GPU_X(embed_##type, embed<TensorType::type>)                     \
  GRETA_GPU_X(vector_gemv_##type, (vector_product<TensorType::type, 1>)) \
  GRETA_GPU_X(vector_gemm_##type, (vector_product<TensorType::type, kVectorTokens>))
#define GRETA_GPU_OF_BLOCK_TYPE(type)                    \
  GRETA_GPU_X(gemv_##type, gemv<Unit<TensorType::type>>) \
  GRETA_GPU_X(gemm_##type, int8_gemm<TensorType::type>)
#define GRETA_GPU_OF_HALF_TYPE(type)                         \
  GRETA_GPU_X(gemv_##type, gemv<HalfUnit<TensorType::type>>) \
  GRETA_GPU_X(gemm_##type, half_gemm<TensorType::type>)

// A row-wise op by the format of what it makes: one body, which looks.
#define GRETA_GPU_ROUNDED(name, body) \
  GRETA_GPU_X(name##_q8, body)        \
  GRETA_GPU_X(name##_bf16, body)      \
  GRETA_GPU_X(name##_f16, body)
#define GRETA_GPU_ALL(name, body) GRETA_GPU_X(name, body) GRETA_GPU_ROUNDED(name, body)

/// Expands GRETA_GPU_X(name, body) for every kernel.
#define GRETA_GPU_KERNELS                                \
  GRETA_GPU_X(rope_table, rope_table)                    \
  GRETA_GPU_ROUNDED(quantize, quantize)                  \
  GRETA_GPU_ALL(rms_norm, rms_norm)                      \
  GRETA_GPU_X(rope, rope)                                \
  GRETA_GPU_X(kv_write, kv_write)                        \
  GRETA_GPU_X(qk, qk)                                    \
  GRETA_GPU_X(softmax, softmax)                          \
  GRETA_GPU_X(pv, pv)                                    \
  GRETA_GPU_ALL(attention, attention)                    \
  GRETA_GPU_X(add, add)                                  \
  GRETA_GPU_ALL(silu_mul, gate<Silu>)                    \
  GRETA_GPU_ALL(gelu_mul, gate<Gelu>)                    \
  GRETA_GPU_X(add_norm, add_norm)                        \
  GRETA_GPU_X(step_attention, step_attention)            \
  GRETA_GPU_X(split_scores, split_scores)                \
  GRETA_GPU_X(split_mix, split_mix)                      \
  GRETA_GPU_X(tile_attention, tile_attention<false>)     \
  GRETA_GPU_X(tile_attention_many, tile_attention<true>) \
  GRETA_GPU_TYPES(GRETA_GPU_OF_TYPE)                     \
  GRETA_GPU_BLOCK_TYPES(GRETA_GPU_OF_BLOCK_TYPE)         \
  GRETA_GPU_HALF_TYPES(GRETA_GPU_OF_HALF_TYPE)

/// A kernel's place in the list, which it stamps when it runs.
enum class KernelId : int32_t {
#define GRETA_GPU_X(name, body) name,
  GRETA_GPU_KERNELS
#undef GRETA_GPU_X
};

inline constexpr size_t kKernelCount = 0
#define GRETA_GPU_X(name, body) +1
    GRETA_GPU_KERNELS
#undef GRETA_GPU_X
    ;

/// How a kernel is launched: whether it says itself when it needs what the one before it made (it asks for
/// weights first); whether it has shared memory beside what it declares; its threads at most; how many of its
/// work-groups a processor shall have room for; whether it wants args.rows and args.panels; how many ops it
/// takes, and whether it does them one after another or each by work-groups of its own.
struct Launching {
  bool early = false, asks_for_shared = false;
  int threads = kRowThreads, groups = 1;
  bool copies_boxes = false;
  int parts = 1;
  bool chained = false;
};

inline constexpr int kBeside = 3;  // products of the same kernel in a launch

constexpr Launching launching(KernelId id, int wave) {
  switch (id) {
#define GRETA_GPU_GEMV(type) case KernelId::gemv_##type:
#define GRETA_GPU_GEMM(type) case KernelId::gemm_##type:
    GRETA_GPU_BLOCK_TYPES(GRETA_GPU_GEMV)
    return {true, true, kDotThreads + wave, kGemvGroups, false, kBeside};
    GRETA_GPU_HALF_TYPES(GRETA_GPU_GEMV) return {true, true, kDotThreads + wave, 1, false, kBeside};
    GRETA_GPU_BLOCK_TYPES(GRETA_GPU_GEMM)
    return {false, true, Int8GemmShape::kWaves * wave, Int8GemmShape::kGroups, false, kBeside};
    GRETA_GPU_HALF_TYPES(GRETA_GPU_GEMM)
    return {false, true, HalfGemmShape(wave).waves() * wave, 1, true, kBeside};
#undef GRETA_GPU_GEMV
#undef GRETA_GPU_GEMM
    case KernelId::rms_norm:
    case KernelId::rms_norm_q8:
    case KernelId::rms_norm_bf16:
    case KernelId::rms_norm_f16: return {false, false, kNormThreads};
    case KernelId::add_norm: return {true, false, kNormThreads, 1, false, 2, true};
    case KernelId::step_attention:
    case KernelId::split_scores:
    case KernelId::split_mix: return {true, true, kRowThreads, 1, false, 4, true};
    case KernelId::tile_attention:
      return {false, true, AttentionTile(wave, false).threads, 2, false, 1, true};
    case KernelId::tile_attention_many:
      return {false, true, AttentionTile(wave, true).threads, 2, false, 1, true};
    default: return {};
  }
}

}  // namespace greta::gpu
