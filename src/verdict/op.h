#pragma once
// What became of the recorded ops: each held against the oracle of its own recorded inputs.

#include <cstdint>
#include <string>
#include <vector>

#include "base/text.h"
#include "model/stage.h"

namespace greta {

/// Within rounding; beyond it; or not held against anything: the op is not known, or its data are missing.
enum class OpStatus { within, fault, unmeasured };

std::string_view name(OpStatus status);  // "WITHIN", "FAULT", "UNMEASURED"

/// All recordings of one op: by its name and kernel, in one layer and phase.
struct JudgedOp {
  std::string op, name, kernel, phase;
  int layer = kNoLayer;
  OpStatus status = OpStatus::within;
  int64_t recorded = 0, wrong = 0, unmeasured = 0;
  double noise_ratio = 0;  // the largest: max |observed - oracle| / bound
  std::string arithmetic;  // that was inferred; empty: f32, or as declared
  std::string why;         // nothing, or not all, was measured
  std::string hypothesis;  // of a fault: its name, or "unexplained", "ambiguous"
  Text title;
  double explained_residual = 0;
};

}  // namespace greta
