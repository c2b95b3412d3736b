#pragma once
// A stage as a problem to be solved in f64: what it is computed from, and how. The model says how; a
// hypothesis is the same problem with something changed, and an intervention puts its solution into a run.

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "judge/shared_rows.h"
#include "model/model.h"
#include "model/stage.h"
#include "model/tokenizer.h"
#include "numerics/oracle.h"
#include "numerics/oracle_experts.h"

namespace greta {

/// What an engine's kernel declares of its arithmetic; the defaults are for one that declares nothing.
struct Declared {
  Roundings roundings = {};
  int sum_lanes = 1;                       // interleaved partial sums of a row sum; 1: order unknown
  double angle_rounding = 3 * bounds::kU;  // of RoPE: f32 position times f32 frequency
  double angle_growth = 0;  // more of it per pair, where each angle is made from the one before
  bool fused_add = false;   // a norm reads the residual sum before it is rounded to what is recorded of it
  std::optional<bool> whole_borders = {};  // of YaRN, as the engine reads a file that leaves it open
  bool operator==(const Declared&) const = default;
};

struct StageProblem;

/// Rows that a stage is computed from, [rows, width]:
/// recorded, or, over a gap in the recording, made by another problem.
struct Operand {
  SharedRows values = {};
  std::shared_ptr<const StageProblem> made_by = {};
};

/// The operands' values, in the order of operands_at().
using Values = std::vector<SharedRows>;

/// A computation of a stage from its operands' values.
using How = std::function<Expected(const StageProblem& problem, const Values& values)>;

struct StageProblem {
  const Model* model = nullptr;
  At at = {};
  StageKind kind = StageKind::embedding;
  std::vector<int64_t> positions = {};  // of the rows to be made
  std::vector<TokenId> tokens = {};     // at these positions (embedding only)
  std::vector<Operand> operands = {};
  // Of a norm whose operand is a residual sum, that sum in f32, and of which rows it is that.
  SharedRows unrounded = {};
  const float* unrounded_of = nullptr;
  int64_t history_rows = 0;  // of the cache: so many leading rows are operand 2's, as they were

  const Tensor* weight = nullptr;
  const Tensor* bias = nullptr;  // of a projection; or none
  double scale = 1;              // of the embedding, of a branch as it is added, of the logits
  double cap = 0;                // of the logits (of scores: attention.cap); 0: none
  double eps = 0;
  oracle::RopeShape rope = {};
  oracle::AttentionShape attention = {};
  oracle::ExpertShape experts = {};
  Declared declared = {};
  Format cache_format = Format::f32;

  /// Another computation than the stage's own: of a hypothesis.
  How how = {};
  std::shared_ptr<const void> keeps = {};  // what `weight` points into, when it is not the model's
};

/// The problem as the model says, without positions and operands.
StageProblem model_problem(const Model& model, At at);

/// The sinks of a softmax, one a head; empty where it has none.
std::vector<double> sinks_of(const StageProblem& problem);

/// What a choice of experts adds to each one's probability; empty where it adds nothing.
std::vector<double> choice_biases(const StageProblem& problem);

/// The stage's own computation from given operands, whatever `how` is: value and bound of every element. An
/// input Error for sizes that do not fit.
Expected right_of(const StageProblem& problem, const Values& values);

/// One stage from given operands: by its `how`, if it has one, else right_of().
Expected compute(const StageProblem& problem, const Values& values);

/// The same from the problem's own operands.
/// Over gaps the bounds of what had to be made are carried along (docs/numerics.md, "Gaps").
Expected expected_of(const StageProblem& problem);

/// A recorded choice of experts, as the judge compares it: oracle::settle_ties(). Other stages as they are.
SharedRows settled(const StageProblem& problem, SharedRows observed);

/// Whether solve_together() takes it: a projection by its own computation, from recorded rows.
bool is_plain_projection(const StageProblem& problem);

/// Plain projections by one weight with one declared arithmetic, in one pass over the weight: each as
/// expected_of() makes it, bit for bit. Decoding a weight is most of the work for one row.
std::vector<Expected> solve_together(std::span<const StageProblem* const> problems);

/// A copy of `root` in which `target` (root itself or a maker of an operand) is changed.
std::shared_ptr<const StageProblem> with_change(const std::shared_ptr<const StageProblem>& root,
                                                const StageProblem* target,
                                                const std::function<void(StageProblem&)>& change);

}  // namespace greta
