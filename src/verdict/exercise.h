#pragma once
// What was run beside the experiment matrix, what of it was judged, and what was not exercised at all.

#include <cstdint>
#include <string>
#include <vector>

#include "base/text.h"

namespace greta {

/// Of what engine and judge read of the file alike: one value, and what another in its place costs.
struct TrustedValue {
  Text what;  // "RoPE's base"
  std::string used, instead;
  double more = 0;   // loss with the other, nats a token; negative: it foresees better
  double error = 0;  // standard error of it
};

struct Trust {
  int64_t tokens = 0;  // that were predicted; 0: nothing was weighed
  double loss = 0;     // nats a token
  double chance = 0;   // the same of a model that knows nothing: ln of the vocabulary
  std::vector<TrustedValue> others;

  /// Of a model that foresees nothing (random weights) the loss tells nothing.
  bool foresees(double nats) const { return nats < 0.8 * chance; }
  bool confirms(const TrustedValue& value) const {
    return foresees(loss) && value.more > 3 * value.error && value.more > 0.05;
  }
  bool doubts(const TrustedValue& value) const {
    return foresees(loss + value.more) && value.more < -4 * value.error && value.more < -0.1;
  }
};

struct Exercise {
  uint64_t seed = 0;                   // of the tokens and the rows that were drawn
  bool held = false;                   // the program that runs unrecorded was held against the recorded one
  int64_t prompts = 0;                 // of the matrix, so held
  int64_t first_tokens = 0;            // of each prompt; 0: all
  int64_t own_tokens = 0;              // at once, in blocks and one by one; 0: none
  std::vector<int64_t> blocks;         // rows of the blocks
  std::vector<int> threads;            // that ran them
  int64_t judged = 0;                  // stages of them that were recorded and held against the oracle
  std::vector<int64_t> steps;          // positions of the steps so judged
  std::vector<std::string> caches;     // formats of the KV cache, the matrix's first
  std::vector<std::string> equal;      // kernels of no judged event that gave the bits of judged ones
  std::vector<std::string> unvouched;  // kernels of the program that ran in no judged event and were not held
  std::vector<Text> not_exercised;
  Trust trust;
};

}  // namespace greta
