#define GRETA_WAVE 64
#define GRETA_FORM wave64
#include "emulator/kernels_body.h"
