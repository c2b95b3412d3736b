// The example engine on an AMD GPU: engine.cu with HIP's names.
#define GRETA_EXAMPLE_HIP
#include "engine.cu"
