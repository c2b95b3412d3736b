#pragma once
// The stages of one graph, as its nodes are computed.

#include <map>
#include <string>
#include <vector>

#include "capture/cache_positions.h"
#include "capture/graph_map.h"
#include "capture/trace_writer.h"
#include "capture/values.h"

namespace greta::capture {

/// Rows of keys and values that a cache was last seen to hold, by layer and position: a sliding cache drops
/// some.
using SeenRows = std::map<int, std::vector<std::vector<float>>>;

class GraphRecorder {
 public:
  GraphRecorder(const GraphMap& map, const Batch& batch, const CachePositions& caches, SeenRows& seen);

  /// The types of keys and values where the format has no word for such a cache; else "". Such a cache is
  /// left out, and position 0 with it: from all rows a judge would make the cache itself, as one that is not
  /// rounded.
  static std::string untold_caches(const GraphMap& map);

  /// Of a step: what its slots hold. To be called before the graph is computed.
  void begin();
  /// Takes what a node that map.places_of names has computed.
  void computed(const void* node);
  /// Everything, in order of execution; what could not be read is in notes().
  std::vector<Record> take() { return std::move(records_); }
  const std::vector<std::string>& notes() const { return notes_; }
  /// What the graph shows of kernels' arithmetic: name -> JSON. (A cache that is turned.)
  const std::map<std::string, std::string>& declared() const { return declared_; }

 private:
  /// The rows of a tensor of `count` rows that are kept: their numbers, and their positions.
  struct Rows {
    std::vector<int64_t> numbers, positions;
  };
  Rows rows_of(int64_t count) const;
  /// Where the text's positions lie in the layer's view of its cache; -1: not there.
  struct Slots {
    std::vector<int64_t> of_position;
    int64_t stream = 0;
  };
  Slots slots_in(int layer) const;
  Record& add(At place, const std::string& kernel, const Rows& rows, std::vector<int64_t> shape);
  void note(const std::string& text);
  void unknown(Tensor t);
  void computed(At place);

  void plain(At place, const StageNode& node);
  void scores(At place, const StageNode& node);
  void mixed(At place, const StageNode& node);
  void read_keys(int layer, Tensor view);
  void read_values(int layer, Tensor view, bool position_first);
  void write_cache(int layer, std::string_view type);
  void see_slot(int layer, int64_t after, const char* as);

  const GraphMap& map_;
  const Batch& batch_;
  const CachePositions& caches_;
  SeenRows& seen_;
  std::map<int, std::vector<std::vector<float>>> keys_;  // by layer and position, of this graph
  std::vector<Record> records_;
  std::vector<std::string> notes_;
  std::map<std::string, std::string> declared_;
  const bool untold_;
};

}  // namespace greta::capture
