#pragma once
// Faulty twins: an action in the place of an op's kernel that, where its condition holds, lets the result of
// a wrong computation stand instead of the kernel's.
// Made by the faults (bank.h), put in by apply_faults().

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "engine/plan_edit.h"
#include "engine/session.h"

namespace greta {

/// When and where a twin is faulty; elsewhere it does what the right kernel does. All that are set must hold.
struct FaultCondition {
  std::optional<int64_t> rows_above = {};     // "S>n": only blocks of more than n tokens
  std::optional<int64_t> rows_equal = {};     // "S=n"
  std::optional<int64_t> from_position = {};  // "pos>=n": only rows at these positions
  std::optional<int64_t> from_head = {};      // "head>=n": only these heads' part of the output
  std::optional<int64_t> k_above = {};        // "K>n": only weights with more than n columns
  std::optional<int64_t> every = {};          // "every=n": only every n-th run of the op
  /// Whether S is right.
  bool holds(const KernelArgs& args) const;
};

/// What the twins of one --inject option share across the plans of one engine; `runs` of each op.
struct FaultState {
  std::map<const PackedWeight*, std::shared_ptr<const PackedWeight>> weights;  // wrong one by right one
  std::map<At, int64_t> runs;
};

/// The op that a twin is made for. What makes it may give the op further inputs, or insert ops before it.
struct TwinSite {
  PlanEdit& edit;
  Op& op;
  const Engine& engine;
  double size;  // of the error, relative, where the fault has a size
  FaultState& state;

  const KernelCall& call() const { return *kernel_call(op); }
  At at() const { return *op.made(); }
  const ModelConfig& config() const { return engine.model().config; }
  /// Lets the twin read what made `stage` of the op's layer (or the residual stream as it stands there): as
  /// args.in[result]. Throws an input Error when the faults of the op read more than an op can.
  size_t read_also(Stage stage) const;
  /// Lets the twin of a projection read its activations before they were rounded to the kernel's format.
  size_t read_unrounded_input() const;
  size_t read_also(BufferId buffer) const;
};

/// One run of an op that goes wrong.
struct WrongCall {
  KernelArgs args;   // out: a copy of the right result, to be overwritten; of kv_write, the cache as written
  View before;       // what the output buffer held before the op ran
  KvView old_cache;  // of kv_write: the layer's cache before the op ran
};

/// The wrong computation, on one thread, into args.out (kv_write: into args.cache).
using Wrong = std::function<void(const WrongCall& call)>;
using MakeWrong = std::function<Wrong(TwinSite& site)>;

/// True if a stage's output is made of heads, which a fault may tell apart.
bool has_heads(Stage stage);

/// The twin of the site's op. The right result under it is the kernel's, or that of the twin that is there
/// already. `label` is shown by `greta plan`; a run's launch record names the right kernel: the engine
/// believes that its own ran.
std::shared_ptr<Action> make_twin(const TwinSite& site, std::string label, Wrong wrong,
                                  const FaultCondition& condition, std::shared_ptr<FaultState> state);

/// Rows of memory of its own.
struct Rows {
  AlignedBytes bytes;
  View view;
};
Rows make_rows(int64_t rows, int64_t cols, Format format = Format::f32);

/// Activation rows of `cols` values in any kernel's format, as f32: what the kernel multiplies with.
Rows as_f32(const View& in, int64_t cols);

/// Runs `kernel` with `in` (f32) in the place of args.in[0], rounded first to the kernel's activation format.
void run_on(const KernelInfo& kernel, KernelArgs args, const View& in, Isa isa);

/// The same product with another weight: by the op's own kernel where the weight has the type that it takes,
/// else by the f32 kernel on the rounded activations.
Wrong multiply_by(const TwinSite& site, std::shared_ptr<const PackedWeight> weight);

/// The op's own kernel, on one thread, with `change` made to its arguments.
template <class Change>
Wrong run_changed(const TwinSite& site, Change change) {
  return [kernel = site.call().kernel, change](const WrongCall& call) {
    KernelArgs args = call.args;
    change(args);
    kernel->run(args, {0, 1});
  };
}

/// Calls body(row of out, column) -> new value for every element of out.
template <class Body>
void set_each(const View& out, Body body) {
  for (int64_t r = 0; r < out.rows; ++r) {
    for (int64_t i = 0; i < out.cols; ++i) out.row(r)[i] = static_cast<float>(body(r, i));
  }
}

/// A wrong computation that changes each element of the right result: f(value, column).
MakeWrong change_each(std::function<double(double value, int64_t column)> f);

/// Repeatable noise in [-1, 1), by index.
double noise_at(uint64_t index);

}  // namespace greta
