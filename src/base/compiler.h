#pragma once
// Two things that the compiler must be told for kernels to be fast, under their names.

/// A function that is part of its caller in every build. Tiles live in registers only if what works on them
/// is inlined, and what is inlined leaves no copy, compiled for one ISA, that the linker could pick for
/// another.
#if defined(__CUDACC__)
#define GRETA_INLINE __host__ __device__ __forceinline__
#elif defined(__HIP__)
#define GRETA_INLINE __attribute__((host, device, always_inline)) inline
#else
#define GRETA_INLINE inline __attribute__((always_inline))
#endif

/// Unrolls the loop that follows, whole if it has at most n rounds. An array of vectors stays in registers
/// only if every index is a constant, and -O3 alone gives up on such loops early.
#define GRETA_UNROLL(n) GRETA_PRAGMA(GCC unroll n)
#define GRETA_PRAGMA(text) _Pragma(#text)
