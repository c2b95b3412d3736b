#define GRETA_ISA avx2
#define GRETA_UNIT "avx2"
// clang-format off
#include "kernels/cpu/lanes_avx2.h"
#include "kernels/cpu/experts.h"
