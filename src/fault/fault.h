#pragma once
// Faults: deliberate bugs, put into a plan as faulty twins of its ops, to test the tool and to teach with.
// They act in the engine's kernels, buffers and weight formats and share nothing with the hypotheses.

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/plan_change.h"
#include "fault/twin.h"

namespace greta {

/// What a run must have for a fault to change anything.
enum class Needs {
  nothing,
  several_rows,  // blocks of S > 1
  history,       // positions in the cache from before the block
  matrix_unit,   // a simulated device whose unit truncates or floors
  bias,          // a model with a bias at the fault's stage
  window,        // a model with windows
  cap,           // a model whose scores, or logits, have a soft cap
  yarn,          // a model whose RoPE is stretched by YaRN
  rope_length,   // a model whose RoPE changes lengths, as YaRN and LongRoPE do
  latent,        // a model with latent attention (MLA)
  sigmoid,       // a model whose experts are chosen by sigmoids
  choice_bias,   // a model whose choice of experts has biases
  groups,        // a model whose experts are chosen of the best groups
  rope_factors,  // a model with a table of factors for RoPE's frequencies
  long_rope,     // a model with LongRoPE's two tables
  sinks,         // a model whose softmax has sinks
  swiglu_oai,    // a model with this activation
};

/// An entry of the table that `greta faults` lists.
struct Fault {
  std::string name;
  std::string fault_class;  // faults of one class make the same mistake at different places
  Stage stage = Stage::q;
  std::string what;    // one line
  std::string source;  // the real bug that it is modelled on
  // The name that a diagnosis should give; "": none, "unexplained" is the honest answer.
  std::string hypothesis;
  MakeWrong make = {};  // empty when the fault acts on routes only
  double size = 0;      // default of by=X, a relative error; 0: the fault has no size
  // A mistake that spans two ops, as mask_absent does in a fused kernel.
  std::optional<Stage> also_stage = {};
  MakeWrong also = {};
  Needs needs = Needs::nothing;

  bool has_size() const { return size != 0; }
};

std::span<const Fault> faults();

/// Whether some layer of the model has the stage, the bias or the window that the fault is about.
bool suits(const Fault& fault, const Model& model);

/// One --inject option: which fault, where and when.
struct FaultSpec {
  const Fault* fault = nullptr;
  std::optional<Phase> phase;  // empty: both
  std::optional<int> layer;    // empty: all that can have it
  FaultCondition condition;
  std::optional<double> size;  // by=X
  std::string text;            // as given
  std::shared_ptr<FaultState> state = std::make_shared<FaultState>();
};

/// "FAULT[@prefill|@decode][:LAYER][,COND...]" with S>n, S=n, pos>=n, K>n, head>=n, every=n, by=X, such as
/// "wq_column_major@prefill:0,S>1". Throws an input Error that says what is allowed, also for a condition
/// that the fault's stage can't have.
FaultSpec parse_fault(const std::string& text, int64_t n_layer);

/// The same of several options.
std::vector<FaultSpec> parse_faults(std::span<const std::string> texts, int64_t n_layer);

/// Puts the twins of all `specs` that concern the plan's phase into it, in their order: where two meet at one
/// op, the later one starts from the earlier one's result (or from its inputs, when it computes anew). Faults
/// inside a fused op (attention) take it apart in their layers. Throws an input Error when a spec finds no
/// op, or its op or weight can't have the fault.
void apply_faults(PlanEdit& edit, const Engine& engine, std::span<const FaultSpec> specs);

/// All that as a change of every plan of an engine, which must outlive it; a fault may also ignore the forced
/// routes.
PlanChange fault_change(const Engine& engine, std::vector<FaultSpec> specs);

}  // namespace greta
