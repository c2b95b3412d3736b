#pragma once
// What rounding can make of a place of the forward pass, from the tokens on: plain data, from which the
// reports of `greta bound` are made.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/rounding.h"
#include "model/stage.h"

namespace greta {

/// Two right runs of one precision, at one position of one prompt.
struct PositionBound {
  std::string prompt;
  int64_t position = 0, element = 0;  // the element of which `bound` is
  double bound = 0;      // of the worst element's |difference|: measured sensitivity times a derived factor
  double typical = 0;    // root mean square difference; of a divergence, its mean
  bool is_last = false;  // of the prompt: what decode0 computes
};

/// One stage of one layer, or what is made of the logits.
struct PlaceBound {
  int layer = kNoLayer;
  std::vector<PositionBound> positions = {};
  double largest = 0;          // |value|
  bool is_divergence = false;  // not of values
  // What the stage alone can add where both runs give it equal inputs; derived. None for what is no stage.
  std::optional<double> own = {};
};

/// The worst, the median one and the worst last one. `positions` is not empty.
struct BoundSummary {
  PositionBound worst, median, last;
  double typical = 0;  // of all positions: root mean square; of divergences their mean
};
BoundSummary summary_of(const PlaceBound& place);

struct RoundingBound {
  std::string model_name = {}, model_file = {}, command_line = {};
  std::string of = {};  // a stage's name, or "logprobs"
  std::string precision = {};
  Format input = Format::f32,
         result = Format::f32;  // what projections' inputs and stages' results are held in
  int draws = 0;
  uint64_t seed = 0;
  std::vector<std::pair<std::string, int64_t>> prompts = {};  // and their tokens
  std::vector<PlaceBound> places = {};                        // one a layer; of logits and logprobs one
  std::optional<PlaceBound> top1 = {};                        // logprobs: of the most likely token
  std::optional<PlaceBound> kl = {};                          // logprobs: KL(one run || another), nats
  double seconds = 0;
};

}  // namespace greta
