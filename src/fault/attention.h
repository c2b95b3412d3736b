#pragma once
// What faults of qk and of pv share.

#include <memory>

#include "fault/twin.h"

namespace greta {

inline int64_t head_by_group(int64_t head, int64_t n_head, int64_t n_kv) { return head / (n_head / n_kv); }
inline int64_t head_by_modulo(int64_t head, int64_t, int64_t n_kv) { return head % n_kv; }
inline int64_t own_slot(int64_t position, int64_t) { return position; }
/// The last position has no next that was written: it reads its own.
inline int64_t next_slot(int64_t position, int64_t n_pos) {
  return position + 1 < n_pos ? position + 1 : position;
}
inline int64_t previous_slot(int64_t position, int64_t) { return position > 0 ? position - 1 : 0; }

/// Where a query head finds the keys or values of a position.
struct AttentionReads {
  int64_t (*kv_head)(int64_t head, int64_t n_head, int64_t n_kv) = head_by_group;
  int64_t (*slot)(int64_t position, int64_t n_pos) = own_slot;
};

/// pv that also mixes positions after the row's own, where softmax gives them weight; other rows stay right.
Wrong mix_future(TwinSite& site);

/// pv that mixes every position with a weight, whatever the mask says.
Wrong mix_all_weights(TwinSite& site);

/// A view of the layer before's cache, filled when the plan runs: inserts an op that looks at it.
/// nullptr in layer 0.
std::shared_ptr<KvView> watch_cache_of_layer_before(TwinSite& site);

}  // namespace greta
