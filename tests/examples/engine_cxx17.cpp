// The example engine and greta_trace.h, as C++17: what nvcc and hipcc make of their shared part.
#include "../../examples/engine.c"
