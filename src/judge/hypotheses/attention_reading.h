#pragma once
// Scores and mixes as a kernel makes them that reads the cache wrongly: the stage's own computation, with its
// kernel's roundings, from other rows, by another mask or scale.

#include <limits>

#include "judge/hypotheses/hypothesis.h"

namespace greta {

/// What may be wrong about reading the cache. Functions that are not set do what is right.
struct Reading {
  std::function<int64_t(int64_t head, const oracle::AttentionShape&)> kv_head;
  std::function<int64_t(int64_t head)> head;    // whose query, or weights
  std::function<int64_t(int64_t dim)> key_dim;  // of a key, that each dim of the query meets; -1: none
  std::function<int64_t(int64_t p)> slot;       // that position p reads; those beyond the cache are its ends
  /// Whether the row at `own` sees `p`, in a cache of n_pos.
  std::function<bool(int64_t own, int64_t p, int64_t n_pos)> visible;
  std::optional<double> scale, cap;
  std::optional<int64_t> window;                              // 0: none
  std::function<double(double)> after = {};                   // of a scaled score
  double lowered = -std::numeric_limits<double>::infinity();  // what is added to scores that are hidden
  bool cap_before_scale = false, cap_after_mask = false;      // where the model caps its scores
};

/// Scores, or a mix, by this reading.
Candidate reading(Reading how, Text title, int fitted = 0);

}  // namespace greta
