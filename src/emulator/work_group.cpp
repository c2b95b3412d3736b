#include "emulator/work_group.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/aligned.h"
#include "base/error.h"
#include "emulator/fiber.h"
#include "emulator/lanes.h"
#include "kernels/gpu/shapes.h"
#include "sim/rule.h"

namespace greta::emulator {

struct WorkGroup::Lane {
  int64_t shared = 0;  // of the arena, taken so far
  uint32_t exchanges = 0;
  int waits_for = 0;                // lanes of its wave, or of the group; 0: it may run
  const uint32_t* count = nullptr;  // or for this to be at least `wanted`
  uint32_t wanted = 0;
};

static uint64_t next_random(uint64_t& state) {  // splitmix64
  uint64_t x = (state += 0x9e3779b97f4a7c15u);
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

struct WorkGroup::State {
  State(uint64_t seed, const sim::Device* unit) : random(seed), arena(0) {
    if (unit == nullptr) return;
    bf16 = &units::find_instruction(unit->bf16);
    f16 = &units::find_instruction(unit->f16);
  }

  void reset(Body to_run, const gpu::Args* with, const gpu::Grid& grid, int group_x, int group_y) {
    body = to_run, parts = with, x = group_x, y = group_y;
    lanes.assign(static_cast<size_t>(grid.threads), {});
    while (fibers.size() < lanes.size()) fibers.emplace_back();
    for (auto& side : slots) side.resize(lanes.size() * kSlotBytes);
    shared = gpu::kStaticBytes + grid.shared, most_taken = 0;
    if (arena.size() < shared) arena = AlignedBytes(shared);
    std::memset(arena.data(), 0xff, static_cast<size_t>(arena.size()));
    order.resize(lanes.size());
    std::iota(order.begin(), order.end(), 0);
  }

  /// Lanes of a wave or of the group (those that `lane` waits for) go on once all of them wait for the same.
  bool release(size_t lane) {
    const size_t width = static_cast<size_t>(lanes[lane].waits_for), first = lane / width * width;
    for (size_t i = first; i < first + width; ++i) {
      if (lanes[i].waits_for != lanes[lane].waits_for || fibers[i].ended()) return false;
    }
    for (size_t i = first; i < first + width; ++i) lanes[i].waits_for = 0;
    return true;
  }

  void wait_for(int width) {
    lanes[current].waits_for = width;
    fibers[current].wait();
  }

  const units::Instruction *bf16 = nullptr, *f16 = nullptr;
  uint64_t random;
  AlignedBytes arena;
  std::vector<Fiber> fibers;
  std::vector<Lane> lanes;
  std::vector<size_t> order;
  std::vector<std::byte> slots[2];
  Body body = nullptr;
  const gpu::Args* parts = nullptr;
  int x = 0, y = 0;
  size_t current = 0;
  bool lost_turn = false;              // a lane has waited for a gate's turn that is not the next one
  int64_t shared = 0, most_taken = 0;  // bytes that a work-group may take, and the most that a lane took
};

namespace {
thread_local WorkGroup::State* running = nullptr;
}

WorkGroup::WorkGroup(uint64_t seed, const sim::Device* unit) : state_(std::make_unique<State>(seed, unit)) {}
WorkGroup::~WorkGroup() = default;
WorkGroup::WorkGroup(WorkGroup&&) noexcept = default;

void WorkGroup::run(Body body, const gpu::Args* parts, const gpu::Grid& grid, int x, int y) {
  State& s = *state_;
  s.reset(body, parts, grid, x, y);
  running = &s;
  const size_t count = s.lanes.size();
  for (size_t i = 0; i < count; ++i)
    s.fibers[i].start(
        [](void* state) { static_cast<State*>(state)->body(static_cast<State*>(state)->parts); }, &s);
  for (size_t left = count; left > 0;) {
    for (size_t i = count; i > 1; --i) std::swap(s.order[i - 1], s.order[next_random(s.random) % i]);
    bool moved = false;
    for (const size_t lane : s.order) {
      if (s.fibers[lane].ended()) continue;
      if (s.lanes[lane].waits_for != 0 && !s.release(lane)) continue;
      if (s.lanes[lane].count != nullptr && *s.lanes[lane].count < s.lanes[lane].wanted) continue;
      moved = true;
      s.current = lane;
      s.fibers[lane].resume();
      if (s.fibers[lane].ended()) --left;
    }
    if (!moved) fail_machine("lanes of a work-group wait for others that have ended or wait elsewhere");
  }
  // A GPU tells a turn from the one before alone: a lane would go on too early, or never.
  if (s.lost_turn) fail_machine("a lane waits at a gate for a turn that is not the next one");
  if (s.most_taken > s.shared)
    fail_machine("a work-group takes {} bytes of shared memory of {}", s.most_taken, s.shared);
}

int thread_index() { return static_cast<int>(running->current); }
int group_x() { return running->x; }
int group_y() { return running->y; }
int thread_count() { return static_cast<int>(running->lanes.size()); }

void meet() { running->wait_for(thread_count()); }
void meet_wave(int wave) { running->wait_for(wave); }

void wait_past(const uint32_t& count, int turn, int times) {
  WorkGroup::Lane& lane = running->lanes[running->current];
  const uint32_t a_turn = static_cast<uint32_t>(times), before = static_cast<uint32_t>(turn) * a_turn;
  running->lost_turn |= count < before;
  lane.count = &count, lane.wanted = before + a_turn;
  running->fibers[running->current].wait();
  running->lanes[running->current].count = nullptr;
  running->lost_turn |= count >= before + 2 * a_turn;
}

float unit_sum(TensorType type, const uint32_t (&a)[8], const uint32_t (&b)[8], float sum) {
  const units::Instruction& unit = type == TensorType::bf16 ? *running->bf16 : *running->f16;
  constexpr int kPairs = 8;
  float x[2 * kPairs], y[2 * kPairs];
  for (int pair = 0; pair < kPairs; ++pair) {
    for (int half = 0; half < 2; ++half) {
      x[2 * pair + half] = sim::read_input(unit, unit.a, a[pair] >> (16 * half) & 0xffff);
      y[2 * pair + half] = sim::read_input(unit, unit.b, b[pair] >> (16 * half) & 0xffff);
    }
  }
  return sim::dot(unit, x, y, 1, 2 * kPairs, sum);
}

std::byte* shared_bytes(int64_t bytes) {
  int64_t& taken = running->lanes[running->current].shared;
  std::byte* memory = running->arena.data() + taken;
  taken += round_up(bytes, 16);
  running->most_taken = std::max(running->most_taken, taken);
  return taken > running->shared ? running->arena.data() : memory;  // run() will say so: a lane may not throw
}

std::byte* slot(int thread) {
  std::vector<std::byte>& side = running->slots[running->lanes[running->current].exchanges % 2];
  return side.data() + static_cast<size_t>(thread) * kSlotBytes;
}

void end_exchange() { ++running->lanes[running->current].exchanges; }

}  // namespace greta::emulator
