#pragma once
// What a measurement of the tool's power runs: which faults where, which of them together, which clean
// prompts. Fixed: two runs with one model do the same.

#include <string>
#include <vector>

#include "fault/fault.h"
#include "record/matrix.h"

namespace greta {

/// A fault in one phase, at a layer that is only a wish: not every layer can have every fault.
struct PlannedFault {
  const Fault* fault = nullptr;
  Phase phase = Phase::prefill;
  int layer = 0;

  /// As --inject takes it, `further` layers on (around the model's end).
  std::string text(int n_layer, int further = 0) const;
};

/// Every fault whose name has `only`, in each phase that has what it needs, spread over the layers. `quick`:
/// one fault of each class in one phase. Without the faults that act on routes, and (with a
/// model) those that suit no layer of it.
std::vector<PlannedFault> planned_faults(int n_layer, const std::string& only, bool quick,
                                         const Model* model = nullptr);

/// `pairs` pairs and half as many triples of faults whose names have `only`, no two at one stage of one
/// layer, phases mixed, drawn pseudo-randomly. `can_have` says whether the model can have the fault there.
std::vector<std::vector<FaultSpec>> stacked_faults(int n_layer, const std::string& only, int pairs,
                                                   const std::function<bool(const FaultSpec&)>& can_have,
                                                   const Model* model = nullptr);

/// p0_short, p4_sys and p5_ba: what faults are put into.
std::vector<Prompt> power_prompts(const Model& model);

/// The four built-in prompts and eight of 2 to 65 tokens, around the edges of tiles: other languages, code,
/// digits, repetition. `quick`: three of them.
std::vector<Prompt> clean_prompts(const Model& model, bool quick);

}  // namespace greta
