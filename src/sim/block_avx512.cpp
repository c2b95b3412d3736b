#define GRETA_ISA avx512
#include "sim/lanes_avx512.h"
// After its lanes:
#include "sim/block_lanes.h"

namespace greta::sim {

extern const BlockForm kAvx512Form;
const BlockForm kAvx512Form = {avx512::read, avx512::multiply};

}  // namespace greta::sim
