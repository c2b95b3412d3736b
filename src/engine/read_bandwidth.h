#pragma once
// The ceiling of decode: how fast this machine reads memory with these threads.

#include <cstdint>

#include "base/thread_pool.h"

namespace greta {

/// Bytes per second of reading `bytes` of memory once, the best of `rounds`.
double measure_read_bandwidth(ThreadPool& pool, int64_t bytes, int rounds);

}  // namespace greta
