#include "capture/cache_positions.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

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

/// Which slots a row sees, by the mask that a layer's attention is given.
class Sight {
 public:
  /// `mask` is_readable() and is_there().
  Sight(const AttentionMap& attention, int64_t graph_rows)
      : mask_(attention.mask),
        columns_(attention.mask.ne(0)),
        rows_(graph_rows / attention.mask.ne(3)),
        streams_(attention.mask.ne(3)),
        stream_slots_(attention.cached_keys.ne(1)) {}

  static bool is_told(const AttentionMap& attention) {
    return attention.mask && attention.mask.is_there() && is_readable(attention.mask.type());
  }
  bool sees(int64_t row, int64_t slot) const {
    const int64_t first = streams_ > 1 ? row / rows_ * stream_slots_ : 0, column = slot - first;
    return column >= 0 && column < columns_ && !std::isinf(mask_.at(column, row % rows_, 0, row / rows_));
  }
  /// The one slot that the row sees and that `taken` holds no position in.
  template <class Taken>
  std::optional<int64_t> only_new(int64_t row, Taken taken) const {
    const int64_t first = streams_ > 1 ? row / rows_ * stream_slots_ : 0;
    std::optional<int64_t> found;
    for (int64_t slot = first; slot < first + columns_; ++slot) {
      if (!sees(row, slot) || taken(slot)) continue;
      if (found) return std::nullopt;
      found = slot;
    }
    return found;
  }

 private:
  Values mask_;
  int64_t columns_, rows_, streams_, stream_slots_;
};

}  // namespace

bool Batch::is_one_sequence() const {
  for (size_t i = 1; i < positions.size(); ++i) {
    if (positions[i] != positions[i - 1] + 1) return false;
  }
  return !positions.empty() && tokens.size() == positions.size();
}

Batch CachePositions::sequence_of(const GraphMap& map, const Batch& all, int64_t position) const {
  const AttentionMap& attention = map.attention.begin()->second;
  if (!attention.slots || !Sight::is_told(attention)) return {};
  const std::vector<int64_t> written = written_slots(attention.slots, all.graph_rows);
  if (static_cast<int64_t>(written.size()) != all.graph_rows) return {};
  const Sight sight(attention, all.graph_rows);
  const auto collect = [&](int64_t next, int64_t before) {
    Batch own;
    own.graph_rows = all.graph_rows;
    own.output_rows = all.output_rows;
    for (int64_t row = 0; row < all.graph_rows; ++row) {
      const auto i = static_cast<size_t>(row);
      if (all.positions[i] != next || (before >= 0 && !sight.sees(row, before))) continue;
      own.numbers.push_back(row);
      own.tokens.push_back(all.tokens[i]);
      own.positions.push_back(next++);
      before = written[i];
    }
    return own;
  };
  const std::vector<int64_t> known = slots(attention.cached_keys, position);
  Batch own = known.empty() || known.back() < 0 ? Batch{} : collect(position, known.back());
  return own.numbers.empty() ? collect(0, -1) : own;
}

int64_t CachePositions::misplaced_by(const GraphMap& map, const Batch& batch, int64_t known) const {
  if (known == 0 || batch.first() == 0 || batch.first() == known) return 0;
  for (const auto& [layer, attention] : map.attention) {
    if (!attention.slots || !attention.cached_keys || !Sight::is_told(attention)) continue;
    const std::vector<int64_t> written = written_slots(attention.slots, batch.graph_rows);
    const std::vector<int64_t> held = slots(attention.cached_keys, known);
    const Sight sight(attention, batch.graph_rows);
    const bool goes_on = std::ranges::all_of(held, [&](int64_t slot) {
      return slot >= 0 && std::ranges::find(written, slot) == written.end() &&
             sight.sees(batch.numbers.front(), slot);
    });
    if (goes_on) return known - batch.first();
  }
  return 0;
}

std::vector<int> CachePositions::write(const GraphMap& map, const Batch& batch) {
  std::vector<int> untold;
  std::map<const void*, std::unique_ptr<Sight>> sights;  // layers share masks
  for (const auto& [layer, attention] : map.attention) {
    std::vector<int64_t> written;
    if (attention.slots && attention.cached_keys) written = written_slots(attention.slots, batch.graph_rows);
    if (static_cast<int64_t>(written.size()) != batch.graph_rows) {
      untold.push_back(layer);
      continue;
    }
    auto& sight = sights[attention.mask.address()];
    if (sight == nullptr && Sight::is_told(attention))
      sight = std::make_unique<Sight>(attention, batch.graph_rows);
    SlotOf& slot_of = slot_of_[attention.cached_keys.address()];
    slot_of.erase(slot_of.lower_bound(batch.first()), slot_of.end());
    for (const int64_t row : batch.numbers)
      std::erase_if(slot_of,
                    [&](const auto& held) { return held.second == written[static_cast<size_t>(row)]; });
    for (size_t i = 0; i < batch.numbers.size(); ++i) {
      const int64_t row = batch.numbers[i];
      int64_t slot = written[static_cast<size_t>(row)];
      // Written where it is not read, or over another row: what counts is where it is read.
      const bool is_lost = std::ranges::count(written, slot) > 1;
      if (sight != nullptr && (is_lost || !sight->sees(row, slot))) {
        const auto taken = [&](int64_t other) {
          return std::ranges::any_of(slot_of, [&](const auto& held) { return held.second == other; });
        };
        slot = sight->only_new(row, taken).value_or(slot);
      }
      slot_of[batch.positions[i]] = slot;
    }
  }
  return untold;
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
