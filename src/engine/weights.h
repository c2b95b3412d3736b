#pragma once
// A model's weights in the form that kernels read: matrices packed once at load, norms and
// biases as f32 vectors.

#include <map>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/pack.h"
#include "model/model.h"

namespace greta {

/// Frequencies of a layer's rotated pairs in turns, frequency / (2 pi), as high and low f32 parts:
/// [rope_dims / 2][2].
std::vector<float> make_rope_turns(const Model& model, const LayerConfig& layer);

class Weights {
 public:
  /// Packs all matrices of the model on the pool's threads.
  /// Throws an input Error for a weight type without kernels.
  Weights(const Model& model, ThreadPool& pool);

  /// Of experts: the first one's, which the others follow.
  const PackedWeight& matrix(const Tensor* tensor) const { return matrices_.at(tensor).front(); }
  /// A norm's weight, a bias (of experts one after the other) or sinks, 64-byte aligned, each padded with
  /// zeros to a multiple of 16.
  const float* vector(const Tensor* tensor) const;

  /// make_rope_turns() of the layer. Layers that turn alike share them.
  const float* rope_turns(const LayerConfig& layer) const { return rope_turns_.at(layer.rope_key()).data(); }

  /// Bytes that one decoded token reads: all packed matrices, an untied embedding and the experts that are
  /// not chosen excepted.
  int64_t bytes_per_token() const { return bytes_per_token_; }

 private:
  std::map<const Tensor*, std::vector<PackedWeight>> matrices_;  // one; of experts one each
  std::map<const Tensor*, AlignedBytes> vectors_;
  std::map<RopeKey, std::vector<float>> rope_turns_;
  int64_t bytes_per_token_ = 0;
};

}  // namespace greta
