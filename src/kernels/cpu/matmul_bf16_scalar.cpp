#define GRETA_ISA scalar
#define GRETA_UNIT "scalarbf16"
// clang-format off
#include "kernels/cpu/lanes_scalar.h"
#include "kernels/cpu/matmul_bf16.h"
