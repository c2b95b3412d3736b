#define GRETA_WAVE 32
#define GRETA_FORM wave32
#include "emulator/kernels_body.h"
