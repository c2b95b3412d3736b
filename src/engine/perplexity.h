#pragma once
// How well a model foresees a text, which any engine can be asked for: perplexity as llama.cpp's
// llama-perplexity defines it, so that the two numbers are comparable.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "engine/plan_edit.h"
#include "engine/session.h"

namespace greta {

struct Perplexity {
  int64_t tokens = 0;  // predicted
  double mean = 0;     // of -ln p(next token)
  double error = 0;    // standard error of the mean

  double value() const;  // exp(mean)
};

/// Lets a plan score its rows: the logits are made of all of them, and -ln p of each row's next token goes to
/// `losses`. Both vectors have a place for every row of a block, and outlive the plan; `next` is set before
/// each run.
void score_rows(PlanEdit& edit, const std::vector<int32_t>& next, std::vector<double>& losses);

/// Cuts `tokens` into chunks of `chunk` and, in each, predicts the tokens of the second half from all before
/// them in the chunk; what is left over at the end is not used. With `bos` >= 0 that token takes the place of
/// each chunk's first one. `progress(done, total)` is called after every chunk. An input Error for a text
/// shorter than a chunk.
Perplexity measure_perplexity(Engine& engine, const RouteTable& routes, std::span<const int32_t> tokens,
                              int64_t chunk, int32_t bos,
                              const std::function<void(int64_t done, int64_t total)>& progress);

}  // namespace greta
