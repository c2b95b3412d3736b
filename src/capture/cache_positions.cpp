#include "capture/cache_positions.h"

#include "capture/values.h"

namespace greta::capture {
namespace {

/// Row numbers that a layer's keys are written to.
std::vector<int64_t> written_slots(Tensor where, int64_t rows) {
  if (where.op_name() == "NONE" || where.type() == "i64") return integers(where);
  // A copy into a view of the cache: consecutive rows from the view's first.
  const Tensor view = where.src(1) ? where.src(1) : where, cache = base_of(where);
  const int64_t width = view.elements() / rows;
  const size_t row_bytes = the_ggml->call().nbytes(view.address()) / static_cast<size_t>(rows);
  if (width <= 0 || row_bytes == 0 || cache == where) return {};
  std::vector<int64_t> slots;
  for (int64_t i = 0; i < rows; ++i) slots.push_back(static_cast<int64_t>(view.view_offs() / row_bytes) + i);
  return slots;
}

}  // namespace

bool Batch::is_one_sequence() const {
  for (size_t i = 1; i < positions.size(); ++i) {
    if (positions[i] != positions[i - 1] + 1) return false;
  }
  return !positions.empty() && tokens.size() == positions.size();
}

bool CachePositions::write(const GraphMap& map, const Batch& batch) {
  for (const auto& [layer, attention] : map.attention) {
    if (!attention.slots || !attention.cached_keys) return false;
    const std::vector<int64_t> slots =
        written_slots(attention.slots, static_cast<int64_t>(batch.positions.size()));
    if (slots.size() != batch.positions.size()) return false;
    std::map<int64_t, int64_t>& slot_of = slot_of_[attention.cached_keys.address()];
    slot_of.erase(slot_of.lower_bound(batch.first()), slot_of.end());
    for (const int64_t slot : slots)
      std::erase_if(slot_of, [&](const auto& entry) { return entry.second == slot; });
    for (size_t i = 0; i < slots.size(); ++i) slot_of[batch.positions[i]] = slots[i];
  }
  return true;
}

std::vector<int64_t> CachePositions::slots(Tensor cache, int64_t n_pos) const {
  std::vector<int64_t> slots(static_cast<size_t>(n_pos), -1);
  const auto known = slot_of_.find(cache.address());
  if (known == slot_of_.end()) return slots;
  for (const auto& [position, slot] : known->second) {
    if (position < n_pos) slots[static_cast<size_t>(position)] = slot;
  }
  return slots;
}

}  // namespace greta::capture
