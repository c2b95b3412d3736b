#define GRETA_VECTOR_BYTES 32
#include "numerics/lane_chain_body.h"

namespace greta {

extern const ChainForm kAvx2Chains;
const ChainForm kAvx2Chains = {all_products, all_blocks};

}  // namespace greta
