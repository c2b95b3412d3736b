#define GRETA_ISA avx512
#include "numerics/matrix_core/lanes_avx512.h"
// After its lanes:
#include "numerics/matrix_core/block_lanes.h"

namespace greta::mma {

extern const BlockForm kAvx512Form;
const BlockForm kAvx512Form = {avx512::read, avx512::multiply};

}  // namespace greta::mma
