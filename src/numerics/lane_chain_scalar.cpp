#define GRETA_VECTOR_BYTES 16
#include "numerics/lane_chain_body.h"

namespace greta {

extern const ChainForm kScalarChains;
const ChainForm kScalarChains = {all_products, all_blocks};

}  // namespace greta
