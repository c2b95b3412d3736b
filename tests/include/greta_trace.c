/* The header's implementation, as C99. */
#define GRETA_TRACE_IMPLEMENTATION
#include "greta_trace.h"
