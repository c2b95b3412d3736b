#pragma once
// One wrong row of one stage, alone: what it was made from, what was observed and what it ought to be. Enough
// to compute it anew elsewhere.

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "bundle/bundle.h"
#include "model/model.h"
#include "verdict/verdict.h"

namespace greta {

struct ExhibitTensor {
  std::vector<int64_t> shape;
  std::vector<double> values;
};

struct Exhibit {
  At at = {};
  Phase phase = Phase::prefill;
  CellKey cell = {};
  std::string kernel = {}, arithmetic = {};
  int64_t position = 0;
  double noise_ratio = 0;  // of this row
  nlohmann::json how;      // what the formula needs besides: "kind", "scale", "eps", ...
  // "input0", "input1" (as the kernel reads them), "weight" (rows), "bias", "observed", "oracle", "bound".
  std::map<std::string, ExhibitTensor> tensors = {};
};

/// The worst row of this place in the cell that a verdict's map names. Of a projection 64 outputs about the
/// worst. Input Errors: not recorded, its inputs are not, or a formula that the repro does not know.
Exhibit exhibit_of(const Bundle& bundle, const Model& model, const StageNoise& place, int threads);

}  // namespace greta
