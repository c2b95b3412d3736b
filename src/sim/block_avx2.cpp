#define GRETA_ISA avx2
#include "sim/lanes_avx2.h"
// After its lanes:
#include "sim/block_lanes.h"

namespace greta::sim {

extern const BlockForm kAvx2Form;
const BlockForm kAvx2Form = {avx2::read, avx2::multiply};

}  // namespace greta::sim
