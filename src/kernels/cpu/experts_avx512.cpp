#define GRETA_ISA avx512
#define GRETA_UNIT "avx512"
// clang-format off
#include "kernels/cpu/lanes_avx512.h"
#include "kernels/cpu/experts.h"
