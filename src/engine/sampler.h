#pragma once
// The next token from a row of logits.

#include <cstdint>
#include <random>
#include <span>

namespace greta {

class Sampler {
 public:
  /// temperature 0 is greedy (ties go to the smaller id);
  /// otherwise a sample from softmax(logits / temperature).
  Sampler(double temperature, uint64_t seed) : temperature_(temperature), random_(seed) {}

  int32_t next(std::span<const float> logits);

 private:
  double temperature_;
  // Its sequence is fixed by the C++ standard: the same seed gives the same text everywhere.
  std::mt19937_64 random_;
};

int32_t argmax(std::span<const float> logits);

}  // namespace greta
