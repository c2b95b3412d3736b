#pragma once
// What a run of the experiment matrix is asked for.

#include <cstdint>
#include <set>
#include <vector>

#include "bundle/decode0_row.h"
#include "engine/session.h"
#include "model/prompt.h"
#include "record/experiment.h"

namespace greta {

/// Rows that are judged besides the fixed ones, drawn anew for each run.
struct DrawnRows {
  uint64_t seed = 0;
  int count = 0;  // of a prompt, of all stages
};

struct MatrixRequest {
  std::vector<Experiment> experiments;
  std::vector<Prompt> prompts;
  std::vector<int> layers;      // traced; those outside layers always are
  std::set<Stage> stages = {};  // of those; none: all
  RouteTable routes;            // base of every experiment
  PlanChange change = {};       // of every plan: faults, interventions
  bool aligned = true;          // decode0: the last prompt token at its own position; else the next token
  int64_t prefill_block = kPrefillBlock;
  DrawnRows drawn = {};
};

/// What the slot that a prompt's decode0 is to write holds before it: zeros, which no key is and attention
/// shows, and of every other prompt its first row, which a kernel that adds to what is there needs to show.
/// (NaN would show, too, but hides all that comes after it.)
Decode0Row decode0_row(const MatrixRequest& request, size_t prompt);

/// The rows of a prompt of n tokens that are judged besides the last: of the stages that later tokens see
/// through the cache, of attention and of the norms (of one row, a wrong eps looks like a wrong scale) all up
/// to 64 tokens, else the first, the last and those around block and window edges;
/// of the FFN the first three.
std::vector<int64_t> judged_rows(Stage stage, int64_t n);

/// `count` different numbers below n by the seed, ascending; all where there are no more.
std::vector<int64_t> drawn_numbers(uint64_t seed, int count, int64_t n);

/// judged_rows(), and those that are drawn for a run that ends at n - 1: the same of every stage.
std::vector<int64_t> judged_rows(Stage stage, int64_t n, const DrawnRows& drawn);

}  // namespace greta
