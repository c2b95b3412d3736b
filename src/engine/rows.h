#pragma once
// How a plan's buffers lie in memory for a block of rows: the same on every device.

#include <vector>

#include "engine/plan.h"

namespace greta {

/// The block that a run is about.
struct Block {
  int64_t rows = 1;
  int64_t position = 0;  // of row 0
  int64_t n_pos() const { return position + rows; }
};

/// A buffer's rows, without an address.
View shape_of(const Buffer& buffer, const Block& block);

/// What `op` reads of an input: one that makes one row from a block reads the block's last one.
View as_input(const Plan& plan, const Op& op, View in);

/// By buffer id, whether some op reads or writes it: a fused op needs nothing of what lies between its parts.
std::vector<bool> touched_buffers(const Plan& plan);

/// What the op's kernel, or the action in its place or on its own, gets besides rows. Returns the call of an
/// action of its own, nullptr for other ops.
const ActionCall* set_call(const Op& op, KernelArgs& args);

/// Throws where the block is none for the plan (a machine Error), or does not fit the cache (an input Error).
void check_block(const Plan& plan, const Block& block, int64_t capacity);

}  // namespace greta
