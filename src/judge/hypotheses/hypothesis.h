#pragma once
// Hypotheses: wrong computations that people really make, executed in f64 on the recorded inputs. One that
// reproduces the observed output, where the right computation does not, names the cause.
//
// They share nothing with the faults (fault.h):
// a fault acts in the engine's kernels, a hypothesis in the oracle.

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "judge/evidence.h"
#include "verdict/verdict.h"

namespace greta {

/// Where a hypothesis is tried: the stage itself, or one that a gap in the recording hides before it.
struct Suspect {
  const Evidence& evidence;
  At at;
  /// The stage itself: then the evidence's observations are of its output, and parameters can be estimated.
  bool direct;

  StageKind kind() const { return info(at.stage).kind; }
  std::string_view name() const { return greta::name(at.stage); }
  const Model& model() const { return *evidence.model; }
  const Tensor* weight() const { return weight_of(model(), {at.stage, at.layer}); }
  const ModelConfig& config() const { return evidence.model->config; }
};

/// A hypothesis with its parameters filled in: one wrong computation of one stage.
struct Candidate {
  /// Makes the right problem the wrong one; false when the observation lacks what it takes.
  std::function<bool(const Observation& observation, StageProblem& problem)> change;
  Text title;
  int fitted = 0;  // numbers taken from the observed output itself; fewer is stronger evidence
  /// They are counted, or say where: one row tells them. Others may be any number, which one row always has.
  bool counted = false;
  /// Its values may be zeros or NaN alone. Of any other these say nothing: what is made from zeros is zero.
  bool may_be_empty = false;
  /// It was recorded to be so, and is no supposition.
  bool seen = false;
  /// Of a projection: each output is made with its own row of the weight, so that a few show what all do.
  bool by_outputs = false;

  bool is_estimated() const { return fitted > 0 && !counted; }
};

/// The problem, over a gap, of a stage that `problem` is made from; nullptr when there is none.
const StageProblem* find_maker(const StageProblem& problem, Stage stage);

/// The stage by another computation.
Candidate computed_by(How how, Text title, int fitted = 0);

/// The stage's right result, changed afterwards.
using Afterwards = std::function<void(const StageProblem& problem, const Values& values, Expected& expected)>;
Candidate changed_afterwards(Afterwards change, Text title, int fitted = 0);

/// The same, where each output is made with its own row of the weight.
Candidate by_outputs(Candidate candidate);

/// False where some are NaN or infinite: what is made from them equals whatever else is.
bool all_finite(std::span<const float> rows);

/// The stage from other rows in the place of operand `operand`; where `rows` has none it does not apply.
using RowsFor =
    std::function<std::optional<SharedRows>(const Observation& observation, const StageProblem& problem)>;
Candidate from_rows(size_t operand, RowsFor rows, Text title);

/// The stage with another weight, which `keeps` owns where the model does not.
Candidate with_weight(const Tensor* weight, Text title, std::shared_ptr<const void> keeps = nullptr,
                      int fitted = 0);

struct Hypothesis {
  std::string_view name;
  Text what;                // one line for `greta hypotheses`
  std::string_view source;  // a real bug of this kind
  /// What it claims of this stage; empty when it does not apply.
  std::vector<Candidate> (*candidates)(const Suspect& suspect);
  /// It claims another arithmetic of the same computation: nothing to be tried with yet another one.
  bool of_arithmetic = false;
};

/// The table, a family a file.
std::span<const Hypothesis> weight_hypotheses();
std::span<const Hypothesis> sum_hypotheses();
std::span<const Hypothesis> unit_hypotheses();
std::span<const Hypothesis> output_hypotheses();
std::span<const Hypothesis> input_hypotheses();
std::span<const Hypothesis> elementwise_hypotheses();
std::span<const Hypothesis> norm_hypotheses();
std::span<const Hypothesis> rope_hypotheses();
std::span<const Hypothesis> cache_hypotheses();
std::span<const Hypothesis> attention_hypotheses();
std::span<const Hypothesis> softmax_hypotheses();
std::span<const Hypothesis> expert_hypotheses();
std::span<const Hypothesis> choice_hypotheses();
std::span<const Hypothesis> latent_hypotheses();

/// All of them.
const std::vector<const Hypothesis*>& hypotheses();

/// The family whose table has it.
CauseFamily family_of(const Hypothesis& hypothesis);

}  // namespace greta
