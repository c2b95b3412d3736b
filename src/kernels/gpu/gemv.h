#pragma once
// One row of activations against a weight, whatever its type. K goes in units of 256; U says what one is:
//   kShape        its bytes (shapes.h)
//   Link, kLinks  what it adds to a sum: so many links of a chain, in order, for each weight row
//   make()        a lane's part of the links, from the unit and the activations behind it
//   put()         writes them to the slot [kLinks][16 rows]
// Waves have a ring of units each, which they fill before the kernel before this one has ended, and make the
// links of every so many-th unit; one wave more chains them in the order of k.

#include "kernels/gpu/gate.h"
#include "kernels/gpu/shapes.h"

namespace greta::gpu::GRETA_FORM {

/// What an output's sum begins with.
GRETA_DEVICE float first_sum(const Args& args, int64_t n) {
  return args.bias == nullptr ? 0.0f : args.bias[n];
}

GRETA_DEVICE void store_sum(const Args& args, int64_t row, int64_t n, float sum) {
  if (row >= args.out.rows || n >= args.weight.n) return;
  args.out.row(row)[n] = args.params.scale == 1 ? sum : sum * args.params.scale;
}

/// The same of kCount rows from n on, which is a multiple of kCount: at once where that can be.
template <int kCount>
GRETA_DEVICE void store_sums(const Args& args, int64_t row, int64_t n, const float (&sums)[kCount]) {
  struct alignas(4 * kCount) Run {
    float of[kCount];
  };
  if (row >= args.out.rows || n >= args.weight.n) return;
  if (n + kCount > args.weight.n || args.out.stride % static_cast<int64_t>(sizeof(Run)) != 0) {
    for (int i = 0; i < kCount; ++i) store_sum(args, row, n + i, sums[i]);
    return;
  }
  Run run;
#pragma unroll
  for (int i = 0; i < kCount; ++i) run.of[i] = args.params.scale == 1 ? sums[i] : sums[i] * args.params.scale;
  *reinterpret_cast<Run*>(args.out.row(row) + n) = run;
}

/// The units of a wave: its share of a panel's, then of the next panel of the work-group.
struct UnitWalk {
  int panel, panels, apart;
  int unit, units, step, blocks;

  GRETA_DEVICE UnitWalk(const Args& args, int first, int every)
      : panel(group_y() - args.first),
        panels(static_cast<int>((args.weight.n + kPanelRows - 1) / kPanelRows)),
        apart(args.groups),
        unit(first),
        step(every) {
    blocks = static_cast<int>((args.weight.k + kBlock - 1) / kBlock);
    units = (blocks + kUnitBlocks - 1) / kUnitBlocks;
    settle();
  }
  GRETA_DEVICE void next() {
    unit += step;
    settle();
  }
  GRETA_DEVICE bool within() const { return panel < panels; }
  GRETA_DEVICE int count() const {
    const int left = blocks - kUnitBlocks * unit;
    return left < kUnitBlocks ? left : kUnitBlocks;
  }

 private:
  GRETA_DEVICE void settle() {
    for (; unit >= units; unit -= units) panel += apart;
  }
};

/// Takes links in the order of k, a few at a time: the next ones are read while those before are added up.
template <class U>
GRETA_DEVICE void chain(const Args& args, const std::byte* slots, const SharedAt& full,
                        const SharedAt& empty) {
  using L = typename U::Link;
  constexpr int kFew = U::kLinks < 4 ? U::kLinks : 4, kParts = U::kLinks / kFew;
  const int row = lane_of_team();
  int slot = 0, turn = 0;
  L now[kFew], next[kFew];
  const auto read = [&](int part) {
    const L* from = reinterpret_cast<const L*>(slots + slot * U::kShape.slot_bytes) + row;
#pragma unroll
    for (int i = 0; i < kFew; ++i) next[i] = from[(part * kFew + i) * kTeam];
  };
  UnitWalk at(args, 0, 1);
  int panel = at.panel;
  float acc = first_sum(args, panel * kPanelRows + row);
  const auto store = [&] {
    if (lane_of_wave() < kTeam) store_sum(args, 0, panel * kPanelRows + row, acc);
  };
  wait_at(full + slot * kGateBytes, turn);
  read(0);
  while (at.within()) {
    if (at.panel != panel) {
      store();
      panel = at.panel;
      acc = first_sum(args, panel * kPanelRows + row);
    }
    const int count = U::kLinks == 1 ? 1 : at.count() * U::kLinks / kUnitBlocks;
    at.next();
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
#pragma unroll
      for (int i = 0; i < kFew; ++i) now[i] = next[i];
      if (part + 1 < kParts) {
        read(part + 1);
      } else {
        pass(empty + slot * kGateBytes);
        if (++slot == U::kShape.waves) slot = 0, ++turn;
        if (at.within()) {
          wait_at(full + slot * kGateBytes, turn);
          read(0);
        }
      }
#pragma unroll
      for (int i = 0; i < kFew; ++i) acc = part * kFew + i < count ? now[i].add_to(acc) : acc;
    }
  }
  store();
}

template <class U>
GRETA_DEVICE void gemv(const Args& args) {
  constexpr GemvShape kShape = U::kShape;
  constexpr int kWaves = kShape.waves, kStages = kShape.stages;
  GRETA_SHARED_BESIDE(shared, kShape.bytes());
  // Gates: of copies, of full slots, of empty ones.
  GRETA_SHARED(std::byte, gate_bytes, kGateBytes * kWaves * (kStages + 2));
  const SharedAt gates(gate_bytes), full = gates + kGateBytes * kWaves * kStages,
                                    empty = full + kGateBytes * kWaves;
  const int wave = thread_index() / kWave;
  if (thread_index() < kWaves * kStages) make_copy_gate(gates + kGateBytes * thread_index());
  if (thread_index() < kWaves) {
    make_gate(full + kGateBytes * thread_index());
    make_gate(empty + kGateBytes * thread_index());
  }
  meet();
  std::byte* const slots = shared + kShape.ring_bytes();
  if (wave == kWaves) {
    wait_for_previous();
    chain<U>(args, slots, full, empty);
    return;
  }
  const SharedAt ring(shared + wave * kStages * kShape.unit_bytes),
      copied = gates + kGateBytes * wave * kStages, is_full = full + kGateBytes * wave,
      is_empty = empty + kGateBytes * wave;
  std::byte* const slot = slots + wave * kShape.slot_bytes;
  const std::byte* const x = args.in[0].raw_row(0);
  const auto copy_weights = [&](const UnitWalk& of, int stage) {
    const int64_t at = int64_t{of.unit} * kShape.x_at();
    copy_through(copied + kGateBytes * stage, ring + stage * kShape.unit_bytes,
                 args.weight.panels + of.panel * args.weight.panel_bytes + at,
                 static_cast<int>(smaller(of.count() * kShape.block_bytes, args.weight.panel_bytes - at)));
  };
  const auto copy_x = [&](const UnitWalk& of, int stage) {
    const int at = 16 * lane_of_wave();
    const int64_t from = int64_t{of.unit} * kUnitBlocks * kShape.x_bytes + at;
    if (of.within() && at < of.count() * kShape.x_bytes && from < args.in[0].stride)
      copy_quad(ring + stage * kShape.unit_bytes + kShape.x_at() + at, x + from);
    end_batch();
  };
  UnitWalk at(args, wave, kWaves), asked = at;
  for (int stage = 0; stage < kStages && asked.within(); ++stage, asked.next()) copy_weights(asked, stage);
  wait_for_previous();
  UnitWalk again = at;
  for (int stage = 0; stage < kStages; ++stage, again.next()) copy_x(again, stage);
  const U lane;
  for (int use = 0, stage = 0, turn = 0; at.within(); at.next(), ++use) {
    wait_for_copy(copied + kGateBytes * stage, turn);
    wait_for_batches<kStages - 1>();
    meet_wave();
    typename U::Link made[U::kMade];
    lane.make(ring.bytes + stage * kShape.unit_bytes, args.weight.k - int64_t{at.unit} * kUnitBlocks * kBlock,
              made);
    if (use > 0) wait_at(is_empty, use - 1);
    lane.put(made, reinterpret_cast<typename U::Link*>(slot));
    pass(is_full);
    meet_wave();  // before the next copy overwrites what the others read
    if (asked.within()) copy_weights(asked, stage);
    copy_x(asked, stage);
    asked.next();
    if (++stage == kStages) stage = 0, ++turn;
  }
}

}  // namespace greta::gpu::GRETA_FORM
