#define GRETA_ISA avx2
#define GRETA_UNIT "avx2bf16"
// clang-format off
#include "kernels/cpu/lanes_avx2.h"
#include "kernels/cpu/matmul_bf16.h"
