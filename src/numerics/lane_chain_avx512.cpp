#define GRETA_VECTOR_BYTES 64
#include "numerics/lane_chain_body.h"

namespace greta {

extern const ChainForm kAvx512Chains;
const ChainForm kAvx512Chains = {all_products, all_blocks};

}  // namespace greta
