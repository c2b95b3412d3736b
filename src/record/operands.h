#pragma once
// What an op reads, seen as it begins. Other rows than its operand's: a buffer was reused, the order is
// wrong, a rounded form is stale, threads did not meet.

#include <memory>
#include <string>
#include <vector>

#include "bundle/event.h"
#include "engine/plan_edit.h"

namespace greta {

class Recorder;
struct RecordScope;

/// The rows of a block at these positions, as f32: [positions, per_position * cols]. `view` (f32, f16,
/// bf16 or q8_block32) has the last rows of a block that ends at n_pos - 1, `per_position` of each token.
std::vector<float> rows_at(const View& view, const std::vector<int64_t>& positions, int64_t n_pos,
                           int64_t per_position);

/// Those of the positions that a view holds which has the block's last rows.
std::vector<int64_t> held_positions(std::vector<int64_t> positions, const View& view, int64_t n_pos,
                                    int64_t per_position);

/// What an op read when it last ran.
using OperandsSeen = std::shared_ptr<std::vector<SeenOperand>>;

/// An operand of an op: what its rows ought to be, and its place among what the op reads.
struct OperandPlace {
  At at;
  size_t input = 0;  // of a cache: none
};

/// Puts an onlooker before `op`, which hashes those of its operands that `scope` records, at the same
/// positions. Rows that are not what was recorded go to the recorder, as a tensor of that hash.
OperandsSeen watch_operands(PlanEdit& edit, const Op& op, const std::vector<OperandPlace>& operands,
                            Recorder& recorder, const RecordScope& scope);

}  // namespace greta
