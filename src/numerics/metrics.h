#pragma once
// How two tensors differ, and what one tensor looks like.

#include <cstdint>
#include <span>

namespace greta {

/// One tensor at a glance. min, max, mean and rms are over the finite elements (0 when there are none).
struct Summary {
  double min = 0, max = 0, mean = 0, rms = 0;
  int64_t nan = 0, inf = 0;
  int64_t count = 0;
};

Summary summarize(std::span<const float> values);

/// `a` is the reference side (prefill_last), `b` the other (decode0). Sums are in f64. Elements of equal bits
/// count as equal (NaN and infinity included);
/// where one side is not finite and the bits differ, mae and max_abs are infinite.
struct PairMetrics {
  int64_t count = 0;
  bool bit_equal = true;
  int64_t differing = 0;         // elements whose bits differ
  int64_t first_differing = -1;  // index of the first such element
  double mae = 0;
  double max_abs = 0;
  double rel_l2 = 0;      // |a - b| / |a|; 0 / 0 is 0
  double cosine = 1;      // 1 when both are zero
  double norm_ratio = 1;  // |b| / |a|: tells a scale from a rotation
  int64_t max_ulp = 0;    // f32 ULP distance, saturated at 2^32 where signs or NaN make it meaningless
};

/// Requires a.size() == b.size().
PairMetrics compare(std::span<const float> a, std::span<const float> b);

/// Of two logit rows: KL(softmax(a) || softmax(b)) in nats, whether the arg-max is the same, and a's margin
/// between its first and second.
struct LogitMetrics {
  double kl = 0;
  bool top1_agree = true;
  int64_t top1_a = 0, top1_b = 0;
  double margin = 0;
};

LogitMetrics compare_logits(std::span<const float> a, std::span<const float> b);

}  // namespace greta
