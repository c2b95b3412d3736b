#pragma once
// Transformations of a plan. Each leaves a plan that runs.

#include <functional>
#include <memory>
#include <vector>

#include "engine/plan.h"

namespace greta {

/// Inserts `op` after the op at `index`; gives it an id.
void insert_after(Plan& plan, size_t index, Op op);

/// Inserts `op` before the op at `index`; gives it an id.
void insert_before(Plan& plan, size_t index, Op op);

/// Puts `twin` in the place of the kernel of the op at `index`; the rest of the op stays.
void replace_kernel(Plan& plan, size_t index, std::shared_ptr<Action> twin);

/// Takes fused attention of the layers for which `wanted` apart into qk, softmax and pv, so that each can be
/// seen. The bits do not change.
void unfuse_attention(Plan& plan, Isa isa, const std::function<bool(int layer)>& wanted);

/// Joins norms and activations with the int8 rounding of their output where nothing else reads it: the f32
/// rows are never stored. The bits do not change; the stage's f32 values can't be seen any more.
void fuse_quantize(Plan& plan, Isa isa);

/// Puts the parts of every fused op back.
void unfuse(Plan& plan);

/// Gives the head (final norm, logits) every row of the block, where it has the last one only.
void keep_all_rows(Plan& plan);

}  // namespace greta
