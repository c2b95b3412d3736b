#pragma once
// Which position lies in which slot of a cache: a graph says only where it writes.

#include <cstdint>
#include <map>
#include <vector>

#include "capture/ggml.h"
#include "capture/graph_map.h"

namespace greta::capture {

/// The rows of a graph.
struct Batch {
  std::vector<int64_t> tokens, positions;
  std::vector<int64_t> output_rows;  // those that the last layer keeps, by number; empty: all

  bool is_one_sequence() const;
  int64_t first() const { return positions.front(); }
  int64_t n_pos() const { return positions.back() + 1; }
};

class CachePositions {
 public:
  /// Notes what the graph is about to write. Positions from its first on are forgotten before: they were
  /// rolled back. False where the slots cannot be told.
  bool write(const GraphMap& map, const Batch& batch);
  /// The slots of positions 0, 1, ..., n_pos - 1 in the memory of this cache; -1 for one that is not there.
  std::vector<int64_t> slots(Tensor cache, int64_t n_pos) const;
  void clear() { slot_of_.clear(); }

 private:
  std::map<const void*, std::map<int64_t, int64_t>> slot_of_;  // by cache: position -> slot
};

}  // namespace greta::capture
