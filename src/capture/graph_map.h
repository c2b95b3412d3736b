#pragma once
// Which node of a graph is which stage: by the names of weights (they are the model file's), by ops, and by
// what a node is computed from; never by what llama.cpp calls it. This is the one table of nodes.

#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "capture/ggml.h"
#include "model/stage.h"

namespace greta::capture {

/// How one layer attends.
struct AttentionMap {
  Tensor cached_keys, cached_values;       // whole tensors that the layer reads
  Tensor slots;                            // where this graph writes its keys: row numbers
  Tensor mask;                             // [slots, rows]: 0 where a row sees a slot, -inf where it does not
  bool fused = false;                      // flash attention: neither scores nor weights exist
  int turned_keys = 0, turned_values = 0;  // rows of the matrix that they are turned by; 0: they are not
  bool scaled_queries = false;             // q was multiplied by something after RoPE
  float scale = 1;                         // that the softmax takes
  bool plain_scores = true;                // nothing stands between scores and softmax
};

struct StageNode {
  Tensor tensor;
  std::string kernel;              // of the product, where a bias is added after it
  int64_t first = 0, columns = 0;  // of a product of two stages' weights: the stage's part; 0: all
};

struct GraphMap {
  std::map<At, StageNode> stages;
  std::unordered_multimap<const void*, At> places_of;  // of the nodes to look at
  std::map<int, AttentionMap> attention;               // by layer
  Tensor tokens, positions, output_rows;            // inputs: ids, positions, rows that the last layer keeps
  Tensor shifted;                                   // a cache whose keys this graph turns on (K-shift)
  Tensor last;                                      // the last node: the logits, of a language model
  std::vector<std::string> notes;                   // what is strange about it
  std::unordered_map<const void*, Tensor> unknown;  // nodes of ops that make no stage

  /// As if the layer attended to nothing that is seen.
  void leave_out_attention(int layer);

  bool is_model() const { return tokens && positions && !attention.empty(); }
};

/// Of a graph about to be computed: its inputs are there, its results are not.
GraphMap map_of(void* graph);

}  // namespace greta::capture
