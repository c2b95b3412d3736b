#define GRETA_ISA scalar
#define GRETA_UNIT "scalar"
// clang-format off
#include "kernels/cpu/lanes_scalar.h"
#include "kernels/cpu/experts.h"
