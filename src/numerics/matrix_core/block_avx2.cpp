#define GRETA_ISA avx2
#include "numerics/matrix_core/lanes_avx2.h"
// After its lanes:
#include "numerics/matrix_core/block_lanes.h"

namespace greta::mma {

extern const BlockForm kAvx2Form;
const BlockForm kAvx2Form = {avx2::read, avx2::multiply};

}  // namespace greta::mma
