#pragma once
// What a lane of the emulator can do: kernels/gpu/lane.h's third form. Every lane is a fiber with a stack of
// its own; who waits lets the others run.

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "base/half.h"
#include "model/tensor_type.h"

namespace greta::emulator {

int thread_index();
int group_x();
int group_y();
int thread_count();

/// Returns once all lanes of the work-group have called it.
void meet();
/// The same of a wave of so many lanes.
void meet_wave(int wave);
/// Returns once others have counted `count` up so many `times` in each of turns 0 .. `turn`.
void wait_past(const uint32_t& count, int turn, int times = 1);

/// `sum` after the 16 products of a's and b's pairs, as the emulated card's matrix unit adds them; of f16 or
/// bf16.
float unit_sum(TensorType type, const uint32_t (&a)[8], const uint32_t (&b)[8], float sum);

/// Memory of the work-group, NaN at first: lanes that ask for arrays in the same order get the same ones.
std::byte* shared_bytes(int64_t bytes);
template <class T>
T* shared(int64_t count) {
  return reinterpret_cast<T*>(shared_bytes(count * static_cast<int64_t>(sizeof(T))));
}

/// Where lane `thread` shows a value of at most kSlotBytes in this exchange. The next one has other slots:
/// nobody is two exchanges ahead of a lane of its wave.
inline constexpr size_t kSlotBytes = 24;
std::byte* slot(int thread);
void end_exchange();

/// What every lane of the wave shows; all its lanes call this.
template <class T, int kWave>
std::array<T, size_t{kWave}> show(const T& mine) {
  static_assert(sizeof(T) <= kSlotBytes);
  std::memcpy(slot(thread_index()), &mine, sizeof mine);
  meet_wave(kWave);
  std::array<T, size_t{kWave}> all;
  const int first = thread_index() / kWave * kWave;
  for (int i = 0; i < kWave; ++i) std::memcpy(&all[static_cast<size_t>(i)], slot(first + i), sizeof mine);
  end_exchange();
  return all;
}

/// The value of the lane whose index differs in `mask`; all lanes of the wave call this.
inline int exchange(int value, int mask, int wave) {
  std::memcpy(slot(thread_index()), &value, sizeof value);
  meet_wave(wave);
  std::memcpy(&value, slot(thread_index() ^ mask), sizeof value);
  end_exchange();
  return value;
}

}  // namespace greta::emulator
