#define GRETA_ISA scalar
#define GRETA_UNIT "scalarint8"
// clang-format off
#include "kernels/cpu/lanes_scalar.h"
#include "kernels/cpu/matmul_int8.h"
