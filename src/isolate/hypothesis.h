#pragma once
// Hypotheses: wrong computations that people really make, executed in f64 on the recorded inputs. One that
// reproduces the observed output, where the right computation does not, names the cause.
//
// They share nothing with the faults (fault.h): a fault acts in the engine's kernels, a hypothesis in the
// oracle.

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "isolate/stage_oracle.h"
#include "isolate/verdict.h"

namespace greta::isolate {

/// A hypothesis with its parameters filled in: one wrong computation of one stage.
struct Candidate {
  StageVariant variant;
  std::string title_en, title_es;
  std::shared_ptr<const void> storage;  // keeps alive what the variant points to
};

struct Hypothesis {
  std::string_view name;
  std::string_view what;    // one line for `greta hypotheses`
  std::string_view source;  // a real bug of this kind
  /// What it claims of this stage; empty when it does not apply.
  std::vector<Candidate> (*candidates)(const OracleContext& context, Stage stage, int layer);
};

std::span<const Hypothesis> hypotheses();

struct Explanation {
  const Hypothesis* hypothesis = nullptr;
  std::string title_en, title_es;
  double explained_residual = 0;  // 1 - |observed - hypothesis| / |observed - oracle|
};

/// The best candidate of each hypothesis that applies to the stage, best first.
std::vector<Explanation> explain(const OracleContext& context, Stage stage, int layer);

/// Below this a hypothesis does not explain; rivals closer than the margin are not told apart.
inline constexpr double kExplains = 0.99;
inline constexpr double kMargin = 0.005;

/// Puts the winner, or "unexplained" or "ambiguous", and the runner-up into the finding.
void name_cause(std::span<const Explanation> explanations, Finding& finding);

}  // namespace greta::isolate
