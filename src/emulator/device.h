#pragma once
// The kernels of kernels/gpu on the CPU, as a device.

#include <memory>
#include <span>
#include <string_view>

#include "base/thread_pool.h"
#include "gpu/device.h"

namespace greta::emulator {

/// What --device takes after "emu:", and how many lanes its waves have.
struct Card {
  std::string_view name;
  int wave;
};
std::span<const Card> cards();

/// Work-groups share the pool's threads; lanes run in an order that follows from the seed.
std::unique_ptr<gpu::Device> make_device(const Card& card, ThreadPool& pool, uint64_t seed = 1);

}  // namespace greta::emulator
