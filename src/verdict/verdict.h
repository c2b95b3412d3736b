#pragma once
// What the experiment matrix found: plain data, from which every report is made.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/text.h"
#include "model/phase.h"
#include "model/stage.h"
#include "numerics/metrics.h"
#include "verdict/error_picture.h"
#include "verdict/exercise.h"
#include "verdict/metamorphic.h"
#include "verdict/op.h"

namespace greta {

/// prefill_last against decode0 at one stage: equal bit for bit; both within their bounds; one outside;
/// different inputs, so that this comparison does not judge it; recorded in one phase only, or without data.
enum class PairStatus { equal, rounding, fault, propagated, missing };

std::string_view name(PairStatus status);  // "EQUAL", "ROUNDING", "FAULT", "PROPAGATED", "MISSING"

/// A cell or a run: equal, rounding, fault, or why GRETA cannot vouch.
enum class RunStatus {
  equal,
  rounding,
  fault,
  harness_suspect,        // the recording contradicts itself: it is to blame, not the engine
  undeclared_arithmetic,  // wrong alike everywhere: not declared, and not inferred
  inconclusive,
  inert_factor,
  vacuous
};

std::string_view name(RunStatus status);  // "EQUAL", ..., "HARNESS_SUSPECT", ...

/// Nothing is wrong, and all of it was seen.
constexpr bool is_clean(RunStatus status) {
  return status == RunStatus::equal || status == RunStatus::rounding;
}

/// The program's: 0 clean, 1 fault, 4 cannot vouch.
constexpr int exit_code(RunStatus status) {
  return is_clean(status) ? 0 : status == RunStatus::fault ? 1 : 4;
}

/// prefill_last against decode0 at one stage of one layer.
struct StagePair {
  CellKey cell;
  std::string phase = {};  // that two bundles were compared in; empty: prefill_last against decode0
  int layer = kNoLayer;
  Stage stage = Stage::x_in;
  PairStatus status = PairStatus::equal;
  PairMetrics metrics;
  std::vector<double> head_mae;  // per head, for stages that have heads
  std::string hash_prefill, hash_decode;
  bool judged_alone = false;  // both sides were held against the oracle of their own inputs
  // Each side against the oracle, max |observed - oracle| / bound; and the larger.
  double noise_ratio = 0, noise_ratio_prefill = 0, noise_ratio_decode = 0;
  std::string why;  // of FAULT and missing, in one line
};

struct RuledOut {
  std::string hypothesis;
  double explained_residual = 0;
};

/// The oracle's output in the place of the faulty one, in a live run.
struct Intervention {
  bool mismatch_removed = false;
  // Relative L2 of the stage, prefill_last against decode0; of a fault in both phases: noise ratio.
  double mismatch_before = 0, mismatch_after = 0;
  double logits_before = 0, logits_after = 0;  // relative L2 of the logits likewise
  std::string prompt;                          // that it was run on
};

/// What a named cause is about, and so where to look for it.
enum class CauseFamily {
  none,  // not named
  weight,
  sum,
  unit,
  output,
  input,
  elementwise,
  norm,
  rope,
  cache,
  attention,
  experts,
  plan  // how the program is put together: fused ops, meetings of the threads, blocks
};

/// What became of the search for a cause.
enum class Cause {
  unexplained,
  ambiguous,  // two hypotheses that cannot be told apart
  named
};

/// Runs that must agree bit for bit, and do not.
struct Difference {
  std::string cause = {};       // "fused_kernel", "missing_barrier", ...; empty: a hypothesis is to name it
  std::vector<Text> told = {};  // what was held against what, and what made the difference go
  std::optional<Deviation> first = {};
};

/// Numbers that a hypothesis estimated from some rows, tried on a row that they were not estimated from.
enum class HeldUp { nothing_estimated, yes, no, no_other_row };
std::string_view name(HeldUp held_up);

/// What tells the wrong recordings of some stages from the right ones of the same kind: all with these values
/// of these attributes are wrong, all others right.
struct Factor {
  std::vector<Stage> stages = {};            // with wrong recordings
  std::vector<std::string> attributes = {};  // "kernel", "S", "phase", ...: one, or two together
  std::vector<std::vector<std::string>> wrong_values = {};  // each: a value per attribute
  int64_t wrong = 0, right = 0;                             // recordings
  bool operator==(const Factor&) const = default;
};

struct Finding {
  Phases phase = Phases::prefill;
  int layer = kNoLayer;
  Stage stage = Stage::x_in;
  std::vector<CellKey> cells;
  std::vector<std::string> prompts_that_cannot_show;  // such as a prompt of one token
  Cause cause = Cause::unexplained;
  bool sought = true;                      // by every hypothesis, if it is unexplained
  CauseFamily family = CauseFamily::none;  // of a named cause
  std::string best;  // the hypothesis that fits best, named or not; empty: none applies to the stage
  HeldUp held_up = HeldUp::nothing_estimated;  // of the best
  Text nearest;                                // what the best claims, named or not
  Text title;
  double explained_residual = 0;  // 1 - |observed - hypothesis| / |observed - oracle|
  std::string runner_up;          // the next best hypothesis; empty when no other applies to the stage
  double runner_up_residual = 0;
  double hypothesis_noise_ratio = 0;  // |observed - hypothesis| / bound: 1 or less reproduces the output
  std::string by_arithmetic;          // that the hypothesis was tried with where the kernels' is not known
  std::vector<RuledOut> ruled_out;    // all other hypotheses that were tried, best first
  Text pattern;                       // which positions, heads and elements are wrong; empty: all
  std::vector<Stage> gap;             // stages before this one that were not recorded: the fault may be there
  std::optional<Intervention> intervention;  // of a live run
  double noise_ratio = 0;                    // the largest over its cells
  double noise_ratio_prefill = 0;            // each phase against the oracle
  double noise_ratio_decode = 0;
  double mae = 0;                             // the largest over its cells
  std::optional<Difference> difference = {};  // by which it was found
  std::vector<std::string> kernels = {};      // of the recordings that convict it
  std::optional<Factor> scope = {};           // of it and all that has the same cause

  /// The name that it is given; "unexplained" or "ambiguous" without one.
  std::string_view hypothesis() const;
};

/// What a cell's decode0 ran for a projection, by the op's own word, and how far it is from prefill_last
/// (MAE of the first traced layer, head 0, as in B3.31's table).
struct ProjectionSeen {
  double mae = 0;
  std::string route;  // "matrix", "vector"
  std::string kernel;
};

/// One experiment x prompt.
struct Cell {
  CellKey key;
  RunStatus verdict = RunStatus::equal;
  int64_t prompt_tokens = 0;
  ProjectionSeen q, k, v;
  double attn_norm_mae = 0;  // of the whole row, first traced layer, for B3.32; hashes empty: not recorded
  std::string attn_norm_hash_prefill, attn_norm_hash_decode;
  std::string prefill_q_kernel;
  std::string force_route = "auto";  // what was asked for: auto, vector, matrix
  bool force_gemm = false;
  bool paired = true;                     // prefill_last and decode0 were both recorded
  bool attested = false;                  // what was asked for is what ran
  std::optional<bool> logits_top1_agree;  // empty when logits were not recorded
  double logits_kl = 0;
  double logits_margin = 0;
  int64_t pairs_equal = 0, pairs_rounding = 0, pairs_fault = 0, pairs_propagated = 0;
  double max_noise_ratio = 0;
  bool has_first_difference = false;  // the first stage, in execution order, that is not EQUAL
  int first_layer = kNoLayer;
  Stage first_stage = Stage::x_in;
};

/// Why a cell proves less than it seems to.
enum class FlagKind { inert_factor, vacuous, harness_suspect, undeclared_arithmetic };

std::string_view name(FlagKind kind);  // as the RunStatus of its name

struct Flag {
  FlagKind kind = FlagKind::inert_factor;
  CellKey cell;
  std::string why;
};

/// A cell whose decode0 may not have written its cache row: in some layers it is what prefill left there, and
/// nothing says that it was cleared between.
struct UntestedWrite {
  CellKey cell;
  int64_t layers = 0, recorded = 0;  // of those recorded
};

/// By what the stages of a kernel, or of kernels that seem alike, were judged.
struct KernelArithmetic {
  enum class Source { by_default, declared, inferred };
  Phase phase = Phase::prefill;
  std::vector<Stage> stages = {};
  std::string weight_type = {};  // of projections
  std::string what = {};         // "operands q8_1"
  Source source = Source::by_default;
};

std::string_view name(KernelArithmetic::Source source);  // "default", "declared", "inferred"

/// Stages that prefill computes by another arithmetic than decode.
struct RouteDifference {
  std::vector<Stage> stages;
  std::string weight_type;
  std::string prefill, decode;  // KernelArithmetic::what
  double mae = 0;               // of one against the other from equal inputs, the largest of some layers
};

/// The largest noise ratio of a stage over all cells: a place on the map.
struct StageNoise {
  Phase phase = Phase::prefill;
  int layer = kNoLayer;
  Stage stage = Stage::x_in;
  double ratio = 0;
  // The recording that has it, and how its errors are spread.
  CellKey cell = {};
  std::string kernel = {}, route = {}, arithmetic = {};
  std::shared_ptr<const ErrorPicture> picture = {};
};

struct Coverage {
  int64_t recorded = 0;    // stage pairs of the matrix
  int64_t judged = 0;      // those with a verdict: EQUAL, ROUNDING, FAULT, or propagated from a judged origin
  int64_t propagated = 0;  // of these, the last kind
  int64_t alone = 0;       // pairs whose two sides were each held against the oracle
  std::vector<std::string> skipped;  // what was not judged, and why
  double percent() const { return recorded == 0 ? 0 : 100.0 * double(judged) / double(recorded); }
};

struct Verdict {
  RunStatus status = RunStatus::inconclusive;
  bool aligned = true;  // decode0 is the last prompt token at its own position
  std::string engine, engine_version;
  std::string model_name, model_file, model_hash, device, isa, kv_format;
  int threads = 0;
  std::string command_line, date;
  std::vector<std::string> injected;  // faults that were put in on purpose
  std::vector<int> layers;            // those traced
  std::vector<Cell> cells;            // experiments outer, prompts inner
  std::vector<StagePair> pairs;
  std::vector<StageNoise> noise;
  std::vector<Finding> findings;  // in execution order
  std::vector<JudgedOp> ops;      // in execution order
  std::vector<Factor> factors;    // of what was convicted
  std::vector<Flag> flags;
  std::vector<UntestedWrite> untested_writes;
  std::vector<KernelArithmetic> arithmetic;
  std::vector<RouteDifference> route_differences;
  Coverage coverage;
  double seconds = 0;
  std::string bundle;     // that was judged
  std::string directory;  // where the bundle and the reports are; empty: nowhere
  std::optional<Exercise> exercise = {};
};

/// What is known of a run when all is done.
struct Completion {
  std::optional<std::vector<Finding>> confirmed = {};  // the findings after live runs, where there were any
  std::string directory = {};
  double seconds = 0;
  std::vector<Finding> differences = {};  // found by holding runs against each other
  std::optional<Exercise> exercise = {};
};

/// The verdict as it is reported.
Verdict completed(Verdict judged, Completion completion);

}  // namespace greta
