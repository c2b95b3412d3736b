#pragma once
// What a recorded stage ought to have been: the oracle applied to the inputs that the same phase recorded.

#include <optional>
#include <string>

#include "judge/arithmetic.h"
#include "judge/cell_view.h"
#include "judge/stage_problem.h"
#include "numerics/unit_bias.h"

namespace greta {

/// One phase of one cell, and what it is judged by.
struct PhaseRecord {
  const Model* model = nullptr;
  PhaseView view;
  std::vector<TokenId> tokens = {};  // of the prompt
  /// The phase that filled the cache before this one ran on it; nullptr when that is not known.
  const PhaseRecord* before = nullptr;
  const InferredArithmetic* inferred = nullptr;  // of kernels that declare nothing; or none
};

/// Whether it computes one row at a time: decode, and a prompt of one token.
bool is_one_row(const PhaseRecord& phase);

/// As the manifest says of the kernel that makes this stage.
Declared declared_arithmetic(const PhaseRecord& phase, At at);

/// Of the kernel that ran: as declared, else as inferred, else by default. Of a stage that was not recorded:
/// of the one nearest to it that is computed alike.
Declared kernel_declares(const PhaseRecord& phase, At at);

/// The same, of one stage where a fused kernel makes several.
Declared arithmetic_of(const PhaseRecord& phase, At at);

/// Equal for equal arithmetic.
std::string arithmetic_key(const Declared& declared);

/// Whether it may be inferred: the kernel declares nothing, or what may be read in two ways, or the stage is
/// made from scores that no kernel is recorded for.
bool is_open(const PhaseRecord& phase, At at);

/// A recorded stage: its problem, and what was observed in the problem's rows.
struct Subject {
  std::shared_ptr<const StageProblem> problem;
  SharedRows observed;
  std::vector<Stage> gap;  // stages that were not recorded and had to be made on the way
};

/// The positions of a stage's recorded rows; none when it has no data, or fewer values than positions (a
/// bundle may claim any number of them).
std::vector<int64_t> recorded_positions(const PhaseRecord& phase, At at);

/// The rows of a recorded stage that are judged: all of the event's; of the cache those that this phase wrote
/// and, where the cache's earlier rows are known from the phase before, these too.
std::vector<int64_t> judged_positions(const PhaseRecord& phase, At at);

/// The stage as a problem over its recorded inputs, for `positions` (some of judged_positions()). Inputs that
/// were not recorded are made from their own. nullopt with `why` when something is missing or does not fit.
/// `hidden`, if any, is treated as not recorded.
std::optional<Subject> subject_of(const PhaseRecord& phase, At at, const std::vector<int64_t>& positions,
                                  std::string* why, std::optional<At> hidden = {});

/// What determines the judgement of a stage: its place, the declared arithmetic, the hashes of what was
/// recorded of it and of all that it is made from.
std::string judgement_key(const PhaseRecord& phase, At at);

/// Recorded rows of any stage at these positions, [positions, width]; nullopt when they were not recorded or
/// do not fit the model. The bundle must outlive them.
std::optional<SharedRows> recorded_rows(const PhaseRecord& phase, At at,
                                        const std::vector<int64_t>& positions);

/// How one phase's stage agrees with the oracle.
struct Judgement {
  // max |observed - oracle| / bound; infinite where the bound is 0 and they differ. Where each element is
  // within its bound but not all together (`bias`): that ratio.
  double noise_ratio = 0;
  UnitBias bias = {};      // of a matrix unit's sums
  int64_t position = -1;   // of the row where that is
  int64_t element = -1;    // in that row
  int64_t rows = 0;        // judged
  int64_t not_finite = 0;  // NaN or infinite values where the oracle has finite ones
  int64_t untold = 0;      // values made from NaN or infinity, or that may overflow: they judge nothing
  bool over_gap = false;
};

/// Why a stage is not judged, or not all of it.
inline constexpr std::string_view kNothingTold = "made from NaN or infinity, or beyond its format's range";
inline constexpr std::string_view kSomeUntold =
    "some values are made from NaN or infinity, or are beyond their format's range";

/// How all outputs of a projection err together; its ratio is 0 for other stages, and over gaps.
UnitBias bias_of(const StageProblem& problem, std::span<const float> observed, const Expected& expected);

/// A recorded stage and what the oracle makes of it.
struct Trial {
  Subject subject;
  Expected right;
};

/// The stage over all its judged rows. nullopt with `why` when an input or the stage's data are missing.
std::optional<Subject> judged_subject(const PhaseRecord& phase, At at, std::string* why);

/// The same with its solution; also nullopt when the model makes another number of values.
std::optional<Trial> try_stage(const PhaseRecord& phase, At at, std::string* why);

/// Whether what was observed lies within the bounds of the subject's own problem, or of another in its place.
bool agrees(const Subject& subject);
bool agrees(const StageProblem& problem, std::span<const float> observed);

/// nullopt with `why` when the model makes another number of values.
std::optional<Trial> trial_of(Subject subject, Expected right, std::string* why);

Judgement judgement_of(const Trial& trial);

/// Judges one recorded stage alone. nullopt with `why` when an input or the stage's data are missing.
std::optional<Judgement> judge_stage(const PhaseRecord& phase, At at, std::string* why);

}  // namespace greta
