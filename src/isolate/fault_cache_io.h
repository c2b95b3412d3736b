#pragma once
// Single elements of a layer's KV cache, for twins.

#include "kernels/kernel.h"

namespace greta::isolate {

float load_key(const KvView& cache, int64_t position, int64_t head, int64_t dim);
float load_value(const KvView& cache, int64_t position, int64_t head, int64_t dim);
/// Rounded to the cache's format.
void store_key(const KvView& cache, int64_t position, int64_t head, int64_t dim, float x);
void store_value(const KvView& cache, int64_t position, int64_t head, int64_t dim, float x);

}  // namespace greta::isolate
