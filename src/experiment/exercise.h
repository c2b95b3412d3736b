#pragma once
// What a run exercised, and what not. Internal to this room.

#include <set>
#include <string>

#include "bundle/bundle.h"
#include "experiment/program.h"
#include "verdict/exercise.h"

namespace greta {

/// Kernels of the plan that the engine runs.
void add_kernels(const Plan& plan, std::set<std::string>& kernels);

/// Kernels of the recorded events.
void add_kernels(const Bundle& bundle, std::set<std::string>& kernels);

/// Windows of layers; those whose edge lies within n positions.
std::set<int64_t> windows_of(const ModelConfig& config);
std::set<int64_t> windows_within(const ModelConfig& config, int64_t n);

/// Formats that a cache of the model may have.
std::vector<Format> cache_formats(const ModelConfig& config);

/// What was reached.
struct Reach {
  int64_t positions = 0;           // of the longest run
  int64_t block = 0;               // rows of the largest block
  std::set<int64_t> windows = {};  // whose edge was crossed
  std::set<int> threads = {};
  std::set<Format> caches = {};
  bool steps_in_a_row = false;
  bool own = false;  // tokens of its own: at once, in blocks, one by one
};

/// What the reach leaves out, for people.
std::vector<Text> not_exercised(const Engine& engine, const MatrixRequest& matrix, const Reach& reach,
                                const Trust& trust);

}  // namespace greta
