#pragma once
// Which position lies in which slot of a cache: a graph says where it writes, and by its mask what is seen.

#include <cstdint>
#include <map>
#include <vector>

#include "capture/ggml.h"
#include "capture/graph_map.h"

namespace greta::capture {

/// The rows of a graph that belong to one text.
struct Batch {
  std::vector<int64_t> numbers;  // of rows in the graph
  std::vector<int64_t> tokens, positions;
  int64_t graph_rows = 0;
  std::vector<int64_t> output_rows;  // those that the last layer keeps, of all texts, by number

  bool is_one_sequence() const;
  int64_t first() const { return positions.front(); }
  int64_t n_pos() const { return positions.back() + 1; }
};

class CachePositions {
 public:
  /// Of a batch of several texts the rows of the one that goes on at `position`, or, where none does, of the
  /// first that begins: a text's rows see the row before. Empty where neither is there.
  Batch sequence_of(const GraphMap& map, const Batch& all, int64_t position) const;
  /// How much higher the batch's positions ought to be, where it says that it goes back, or leaves some out,
  /// and the cache holds the text's `known` positions all the same: its first row sees each of them.
  int64_t misplaced_by(const GraphMap& map, const Batch& batch, int64_t known) const;
  /// Notes where the graph's positions will be read. Those from its first on are forgotten before: they were
  /// rolled back. Returns the layers whose slots cannot be told.
  std::vector<int> write(const GraphMap& map, const Batch& batch);
  /// The slots of positions 0, 1, ..., n_pos - 1 in the memory of this cache; -1 for one that is not there.
  std::vector<int64_t> slots(Tensor cache, int64_t n_pos) const;

 private:
  using SlotOf = std::map<int64_t, int64_t>;  // position -> slot
  std::map<const void*, SlotOf> slot_of_;     // by cache
};

}  // namespace greta::capture
